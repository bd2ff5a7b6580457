# Needs Python 3.11 or newer, git and make. Everything else is fetched into .tools/ and .venvs/.

PYTHON ?= python3
PYTEST_ARGS ?=
BENCH_ARGS ?=
FUZZ_EXAMPLES ?= 200000
LOCK_ARGS ?=
AUDIT_ARGS ?=

UV_VERSION := 0.13.9
UV := .tools/uv-$(UV_VERSION)/bin/uv

# What looks at the code or the wheel from outside has an environment of its own: in the others it would
# have to get along with each host.
TOOLS := $(addprefix .tools/,basedpyright@1.40.2/bin/basedpyright import-linter@2.17/bin/lint-imports \
	twine@7.0.0/bin/twine check-wheel-contents@0.6.3/bin/check-wheel-contents pip-audit@2.10.1/bin/pip-audit)
tool = $(filter %/bin/$(1),$(TOOLS))

# One environment per host version, each installed from requirements/NAME.txt: the newest of each host,
# and the others that are supported.
NEWEST := core airflow prefect docs
OTHERS := airflow-2.11 airflow-3.0 airflow-3.1 airflow-3.2 airflow-3.4 prefect-3.6
PEERS := airflow-peers prefect-peers
ENVS := $(NEWEST) $(OTHERS) $(PEERS)
ready = $(1:%=.venvs/%/.ready)

# The environments are built by this interpreter. Airflow 2.11 and 3.0 stop at Python 3.12, and 3.1 at
# 3.13: for them, uv looks for one that fits.
interpreter = $(shell $(PYTHON) -c 'import sys; print(sys.executable)')
$(call ready,airflow-2.11 airflow-3.0): interpreter = >=3.11,<3.13
$(call ready,airflow-3.1): interpreter = >=3.11,<3.14

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-all test-quick test-matrix test-browser test-wheel test-wheels screenshots fuzz bench docs envs \
	slow-core slow-prefect lint layers types pyright audit dist lock clean \
	check-python table $(ENVS:%=test-%) $(ENVS:%=deployment-%) browser-airflow browser-prefect \
	debian-postgresql debian-chromium $(ENVS:%=lock-%) lock-tools

help:  ## Show this list
	@echo 'Usage: make TARGET [PYTHON=python3.12] [PYTEST_ARGS="-k name"]'
	@echo
	@awk -F ':.*## ' '/^[a-z0-9. -]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo 'The first call builds the environments it needs. To build them again with another'
	@echo 'Python: make clean, then make TARGET PYTHON=...'

# ---------------------------------------------------------------------------------------------------
# Try it

demo:  ## Run the gate in a real Airflow and a real Prefect, against the emulator
	@$(MAKE) --no-print-directory -j2 $(call ready,airflow prefect)
	.venvs/airflow/bin/python tools/demo.py \
		--airflow-python .venvs/airflow/bin/python --prefect-python .venvs/prefect/bin/python

# ---------------------------------------------------------------------------------------------------
# Check it

# Parts run at the same time: while one waits, another works. Those that take longest go first. Each
# has a log in .results/parts/, and one screen at the end says what became of all of them.
QUICK := test-prefect test-airflow test-core test-docs types lint layers
PARTS := deployment-airflow deployment-prefect test-prefect slow-prefect $(filter-out test-prefect,$(QUICK))
AT_ONCE ?= 4
parallel = $(MAKE) --no-print-directory --output-sync=target
in_parts = $(one_variant)$(parallel) --keep-going -j$(AT_ONCE) $(1:%=part-%) $(call selects,$(1)); \
	$(if $(LAST),$(parallel) --keep-going -j2 $(LAST:%=part-%) $(call selects,$(1));) \
	$(PYTHON) tools/parts.py show $(1) $(LAST)

# Parts that begin when all others have ended.
LAST ?=

# What pytest selects by markers. Nothing: all tests. `slow-core` and `slow-prefect` take the slow tests
# of a suite, in a process of their own beside the others: a suite that takes longest is halved so.
SELECT ?=
not_slow = $(if $(SELECT),$(SELECT) and )not slow
selects = SELECT='$(SELECT)' $(foreach half,$(patsubst slow-%,%,$(filter slow-%,$(1))),SELECT_$(half)='$(not_slow)')
test: SELECT = not extended
test-quick: SELECT = not extended and not slow and not seconds
test-matrix: SELECT = not slow

# Of tests that have a sync and an async variant, make test runs one.
one_variant := $(if $(THOROUGH),,ONE_VARIANT=1 )

test:  ## Everything on the newest Airflow and Prefect, with the basics of whole deployments
	@$(MAKE) --no-print-directory -j2 $(call ready,$(NEWEST))
	@rm -rf .results
	@$(call in_parts,$(PARTS))

# With all variants and examples, the core's suite takes as long as Prefect's. All scenarios of
# deployments need the machine for themselves.
test-all: export THOROUGH = 1
test-all: | debian-postgresql  ## make test with all scenarios of deployments, all examples, development mode, pyright
	@$(MAKE) --no-print-directory test SELECT= \
		PARTS='slow-core slow-prefect $(QUICK) pyright' LAST='deployment-airflow deployment-prefect'

test-quick:  ## Lint, types, and the tests on the newest hosts, but for deployments and what takes seconds
	@$(MAKE) --no-print-directory -j2 $(call ready,$(NEWEST))
	@$(call in_parts,$(QUICK))

part-%:
	@$(PYTHON) tools/parts.py run $* $(MAKE) --no-print-directory $* \
		PYTEST_ARGS='$(PYTEST_ARGS) --junitxml=.results/parts/$*.xml'

test-matrix:  ## The other versions of Airflow and Prefect, as deployments; then the table of all
	@$(MAKE) --no-print-directory -j2 $(call ready,$(OTHERS))
	@$(one_variant)$(parallel) -j2 $(OTHERS:%=deployment-%) test-airflow-2.11 test-airflow-3.0 test-prefect-3.6 SELECT='$(SELECT)'
	@$(MAKE) --no-print-directory table

test-browser: $(call ready,airflow prefect) | debian-chromium  ## What a person sees of both hosts, in Chromium
	@$(parallel) -j1 browser-airflow browser-prefect

screenshots: test-browser  ## The pictures in docs/images/, made anew by the tests in the browser
	.venvs/core/bin/python tools/screenshots.py

fuzz: export THOROUGH = 1
fuzz: $(call ready,core)  ## 200,000 malformed responses and 50,000 scenes of the simulator, others each time
	FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) .venvs/core/bin/pytest tests/core/test_hostile_answers.py -k many -s $(PYTEST_ARGS)
	SCENES=50000 FIRST=$$(date +%s) .venvs/core/bin/pytest tests/simulator -s $(PYTEST_ARGS)

# The plots are made even if a limit is missed; the status is that of the benchmark.
bench: $(call ready,$(PEERS) docs)  ## What it costs, beside the peers, in benchmarks/results.md: nothing else should run
	@for env in $(PEERS); do $(UV) pip install --quiet --python .venvs/$$env --no-deps --no-build-isolation \
		--reinstall --refresh-package empirical-provider --compile-bytecode . || exit; done
	.venvs/airflow-peers/bin/python benchmarks/bench.py $(BENCH_ARGS) \
		--airflow-python .venvs/airflow-peers/bin/python --prefect-python .venvs/prefect-peers/bin/python; \
	status=$$?; .venvs/docs/bin/python benchmarks/plots.py && exit $$status

table: $(call ready,core)  ## What became of each scenario on each version, as last tested
	@.venvs/core/bin/python tools/table.py

# airflow-2.11 and airflow-3.0 run tests/airflow, prefect-3.6 runs tests/prefect.
host = $(firstword $(subst -, ,$(1)))
suites = $(if $(filter core,$(1)),tests/core tests/cli tests/emulator tests/simulator,tests/$(call host,$(1)))

# In the core everything is ours: with THOROUGH, Python's development mode watches over it.
developing = $(if $(filter core,$(1)),$(if $(THOROUGH),PYTHONDEVMODE=1 ))
$(ENVS:%=test-%): test-%: .venvs/%/.ready
	$(call developing,$*).venvs/$*/bin/pytest $(call suites,$*) -m '$(or $(SELECT_$*),$(SELECT))' $(PYTEST_ARGS)

slow-core slow-prefect: slow-%: .venvs/%/.ready
	.venvs/$*/bin/pytest $(call suites,$*) -m 'slow$(if $(SELECT), and $(SELECT))' $(PYTEST_ARGS)

# The newest versions have all scenarios, the others the basics; 2.11 has them in one process.
scenarios-airflow := tests/deployment/airflow --ignore tests/deployment/airflow/test_inline.py
scenarios-prefect := tests/deployment/prefect
scenarios-airflow-2.11 := tests/deployment/airflow/test_inline.py
scenarios-airflow-3.0 := $(addprefix tests/deployment/airflow/test_,basics.py events.py)
scenarios-airflow-3.1 := $(addprefix tests/deployment/airflow/test_,basics.py crashes.py persons.py)
scenarios-airflow-3.4 := $(scenarios-airflow-3.0)
scenarios = $(or $(scenarios-$(1)),tests/deployment/$(call host,$(1))/test_basics.py)

$(ENVS:%=deployment-%): deployment-%: .venvs/%/.ready
	EMPIRICAL_TESTS_SESSION=$* .venvs/$*/bin/pytest $(call scenarios,$*) -m '$(SELECT)' $(PYTEST_ARGS)

browser-airflow browser-prefect: browser-%: .venvs/%/.ready
	EMPIRICAL_TESTS_SESSION=browser-$* .venvs/$*/bin/pytest tests/deployment/browser/$* $(PYTEST_ARGS)

lint: $(call ready,core)  ## ruff check and ruff format --check
	.venvs/core/bin/ruff check .
	.venvs/core/bin/ruff format --check .

layers: | $(call tool,lint-imports)  ## import-linter: which part may import which
	$(call tool,lint-imports) --no-logo --cache-dir .mypy_cache/layers

types: $(call ready,core airflow prefect)  ## mypy --strict: the package and what users write, each part where its host is
	.venvs/core/bin/mypy --strict --cache-dir .mypy_cache/core \
		--exclude '^empirical_provider/(airflow|prefect)/' empirical_provider tests/typing/user_code_core.py
	.venvs/airflow/bin/mypy --strict --cache-dir .mypy_cache/airflow \
		empirical_provider/airflow tests/typing/user_code_airflow.py
	.venvs/prefect/bin/mypy --strict --cache-dir .mypy_cache/prefect \
		empirical_provider/prefect tests/typing/user_code_prefect.py

# It brings a Node of its own.
pyright: $(call ready,core airflow prefect) | $(call tool,basedpyright)  ## pyright: what users write, each part where its host is
	@for env in core airflow prefect; do echo "pyright, $$env" && \
		$(call tool,basedpyright) --level error --pythonpath .venvs/$$env/bin/python \
			tests/typing/user_code_$$env.py || exit; done

docs: $(call ready,docs)  ## The site of the documentation, built strictly into site/
	NO_MKDOCS_2_WARNING=1 .venvs/docs/bin/mkdocs build --strict

audit: | $(UV) $(call tool,pip-audit) check-python  ## Known vulnerabilities of what is locked; AUDIT_ARGS=--allow-unanswered
	$(PYTHON) tools/audit.py $(AUDIT_ARGS) --pip-audit=$(call tool,pip-audit) $(UV) $(NEWEST:%=requirements/%.txt)

# ---------------------------------------------------------------------------------------------------
# Hand it out

# The wheel is built from the sdist, which therefore lacks nothing.
dist: $(call ready,core) | $(call tool,twine) $(call tool,check-wheel-contents)  ## Build sdist and wheel into dist/, and check them
	@rm -rf dist
	@$(UV) build --quiet --no-build-isolation --python .venvs/core
	@$(call tool,twine) check --strict dist/*
	@$(call tool,check-wheel-contents) dist/*.whl

test-wheel: dist  ## The core's quick tests on the built wheel, with the newest and the oldest that it may need
	@$(PYTHON) tools/test_wheel.py $(UV) --pythons $(interpreter) --pytest-args='$(PYTEST_ARGS)'

# Both hosts, too, on every Python that is named: make test-wheels PYTHONS="3.11 3.12 3.13"
PYTHONS ?= $(interpreter)
test-wheels: dist  ## The quick tests of core and hosts on the built wheel, on each of PYTHONS
	@$(PYTHON) tools/test_wheel.py $(UV) --parts core airflow prefect --pythons $(PYTHONS) \
		--pytest-args='$(PYTEST_ARGS)'

# ---------------------------------------------------------------------------------------------------
# Set it up

envs: $(call ready,$(ENVS))  ## Build all environments (works under make -j)

# Debian's packages, installed where that is possible and they are missing.
debian-postgresql: installed = $(wildcard /usr/lib/postgresql/*/bin/postgres)
debian-chromium: installed = $(shell command -v chromium)
debian-postgresql debian-chromium: debian-%:
	@test -n '$(installed)' || { echo 'Installing $*'; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y $* >/dev/null; } || { \
		echo 'This needs $*, and apt-get could not install it: see above.' >&2; exit 1; }

# Host packages are compiled once, here: Airflow and Prefect start many processes, and each would pay
# for it again where Python is told to write no bytecode.
.venvs/%/.ready: requirements/%.txt pyproject.toml | check-python $(UV)
	@echo 'Building .venvs/$*'
	@$(UV) venv --quiet --allow-existing --python '$(interpreter)' .venvs/$*
	@$(UV) pip sync --quiet --python .venvs/$* --require-hashes --compile-bytecode $<
	@$(UV) pip install --quiet --python .venvs/$* --no-deps --no-build-isolation --editable .
	@touch $@

$(UV): | check-python
	@echo 'Fetching uv $(UV_VERSION)'
	@$(PYTHON) -m venv --clear .tools/uv-$(UV_VERSION)
	@.tools/uv-$(UV_VERSION)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
		-r requirements/tools/uv.txt

$(TOOLS): venv = $(@D:%/bin=%)
$(TOOLS): | $(UV)
	@echo 'Fetching $(@F)'
	@$(UV) venv --quiet --clear --python '$(interpreter)' $(venv)
	@$(UV) pip install --quiet --python $(venv) --require-hashes \
		-r requirements/tools/$(firstword $(subst @, ,$(notdir $(venv)))).txt

check-python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo 'This needs Python 3.11 or newer, and "$(PYTHON)" is not. Name one: make PYTHON=python3.12 ...' >&2; \
		exit 1; }

lock: $(ENVS:%=lock-%) lock-tools  ## Write requirements/*.txt again; LOCK_ARGS=--upgrade for newer releases

# What an environment adds to the core's: a host its extra, and what keeps its version working.
lock_docs = --group docs
lock_host = --extra $(call host,$(1)) requirements/$(1).in

$(ENVS:%=lock-%): lock-%: | $(UV)
	@echo 'Locking requirements/$*.txt'
	@$(UV) pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-strip-extras \
		--custom-compile-command 'make lock' $(LOCK_ARGS) \
		--extra emulator --extra cli --extra reports --group test --group check $(if $(filter core docs,$*),$(lock_$*),$(call lock_host,$*)) \
		--output-file requirements/$*.txt pyproject.toml

# The tools, each with what it needs.
lock-tools: | $(UV)
	@for tool in $(foreach each,$(TOOLS),$(notdir $(each:%/bin/$(notdir $(each))=%))) uv@$(UV_VERSION); do \
		echo "Locking requirements/tools/$${tool%@*}.txt" && \
		echo "$${tool%@*}==$${tool#*@}" | $(UV) pip compile --quiet --universal --generate-hashes --python-version 3.11 \
			--custom-compile-command 'make lock' --output-file "requirements/tools/$${tool%@*}.txt" - || exit; done

clean:  ## Remove the environments, the tools and all caches
	rm -rf .venvs .tools .results .screenshots .mypy_cache .pytest_cache .ruff_cache dist site
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
