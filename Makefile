# Needs Python 3.11 or newer, git and make. Everything else is fetched into .tools/ and .venvs/.

PYTHON ?= python3
PYTEST_ARGS ?=
LOCK_ARGS ?=

UV_VERSION := 0.13.9
UV := .tools/uv-$(UV_VERSION)/bin/uv

# One environment per host version, each installed from requirements/NAME.txt. Those in ALL_ENVS only
# are for whole deployments.
ENVS := core airflow airflow-2.11 airflow-3.0 prefect prefect-3.6
HOST_ENVS := $(filter-out core,$(ENVS))
ALL_ENVS := $(ENVS) airflow-3.1
ready = $(1:%=.venvs/%/.ready)

# The environments are built by this interpreter. Airflow 2.11 and 3.0 stop at Python 3.12, and 3.1 at
# 3.13: for them, uv looks for one that fits.
interpreter = $(shell $(PYTHON) -c 'import sys; print(sys.executable)')
$(call ready,airflow-2.11 airflow-3.0): interpreter = >=3.11,<3.13
$(call ready,airflow-3.1): interpreter = >=3.11,<3.14

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-deployments envs lint types lock clean check-python \
	test-core $(HOST_ENVS:%=test-%) $(ALL_ENVS:%=lock-%)

help:  ## Show this list
	@echo 'Usage: make TARGET [PYTHON=python3.12] [PYTEST_ARGS="-k name"]'
	@echo
	@awk -F ':.*## ' '/^[a-z0-9. -]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo 'The first call builds the environments it needs. To build them again with another'
	@echo 'Python: make clean, then make TARGET PYTHON=...'

# ---------------------------------------------------------------------------------------------------
# Try it

demo: $(call ready,airflow prefect)  ## Run the gate in a real Airflow and a real Prefect, against the emulator
	.venvs/airflow/bin/python tools/demo.py \
		--airflow-python .venvs/airflow/bin/python --prefect-python .venvs/prefect/bin/python

# ---------------------------------------------------------------------------------------------------
# Check it

# Prefect's suites go first, and one more job than there are cores: they mostly wait for their server.
test:  ## Lint, types, and the tests in all environments, three at a time
	@$(MAKE) --no-print-directory -j2 envs
	@$(MAKE) --no-print-directory -j3 --output-sync=target \
		$(patsubst %,test-%,$(filter prefect%,$(HOST_ENVS)) $(filter airflow%,$(HOST_ENVS)) core) lint types

test-core: $(call ready,core)  ## Tests of the core and the emulator
	.venvs/core/bin/pytest tests/core tests/emulator $(PYTEST_ARGS)

test-airflow:  ## Airflow tests on the newest Airflow
test-airflow-2.11:  ## Airflow tests on Airflow 2.11
test-airflow-3.0:  ## Airflow tests on Airflow 3.0
test-prefect:  ## Prefect tests on the newest Prefect
test-prefect-3.6:  ## Prefect tests on Prefect 3.6

# airflow-2.11 and airflow-3.0 run tests/airflow, prefect-3.6 runs tests/prefect.
host = $(firstword $(subst -, ,$(1)))

$(HOST_ENVS:%=test-%): test-%: .venvs/%/.ready
	.venvs/$*/bin/pytest tests/$(call host,$*) -m 'not deployment' $(PYTEST_ARGS)

DEPLOYMENTS := airflow airflow-3.1 airflow-2.11 prefect

test-deployments: $(call ready,$(DEPLOYMENTS))  ## What takes minutes: whole deployments, and waits of real length
	@$(MAKE) --no-print-directory -j1 $(DEPLOYMENTS:%=deployments-%)

deployments-%:
	.venvs/$*/bin/pytest tests/$(call host,$*) -m deployment $(PYTEST_ARGS)

lint: $(call ready,core)  ## ruff check and ruff format --check
	.venvs/core/bin/ruff check .
	.venvs/core/bin/ruff format --check .

types: $(call ready,core airflow prefect)  ## mypy --strict, each part in an environment that has its host
	.venvs/core/bin/mypy --strict --cache-dir .mypy_cache/core \
		--exclude '^empirical_provider/(airflow|prefect)/' empirical_provider
	.venvs/airflow/bin/mypy --strict --cache-dir .mypy_cache/airflow empirical_provider/airflow
	.venvs/prefect/bin/mypy --strict --cache-dir .mypy_cache/prefect empirical_provider/prefect

# ---------------------------------------------------------------------------------------------------
# Set it up

envs: $(call ready,$(ENVS))  ## Build all environments (works under make -j)

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
	@.tools/uv-$(UV_VERSION)/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

check-python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo 'This needs Python 3.11 or newer, and "$(PYTHON)" is not. Name one: make PYTHON=python3.12 ...' >&2; \
		exit 1; }

lock: $(ALL_ENVS:%=lock-%)  ## Write requirements/*.txt again; LOCK_ARGS=--upgrade for newer releases

# What a host environment adds to the core's: its extra, and what keeps its version working.
lock_host = --extra $(call host,$(1)) --constraints requirements/$(1).in

$(ALL_ENVS:%=lock-%): lock-%: | $(UV)
	@echo 'Locking requirements/$*.txt'
	@$(UV) pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-strip-extras \
		--custom-compile-command 'make lock' $(LOCK_ARGS) \
		--extra emulator --group test --group check $(if $(filter-out core,$*),$(call lock_host,$*)) \
		--output-file requirements/$*.txt pyproject.toml

clean:  ## Remove the environments, the tools and all caches
	rm -rf .venvs .tools .mypy_cache .pytest_cache .ruff_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
