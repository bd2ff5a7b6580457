"""``empirical-provider``, or ``python -m empirical_provider.cli``."""

import sys

try:
    from empirical_provider.cli.main import main
except ModuleNotFoundError as error:
    if error.name not in {"click", "rich"}:
        raise
    sys.exit(f'{error}. Install it with: pip install "empirical-provider[cli]"')

if __name__ == "__main__":
    main(prog_name="empirical-provider")
