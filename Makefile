# Everything a contributor types. `make` alone lists the targets; CONTRIBUTING.md tells more.

PYTHON ?= python3
UV ?= uv
VENV := .venv
PY := $(VENV)/bin/python
COMPILED := build/compiled
COMPILED_FOR_TESTS := build/compiled-for-tests
PYTEST := $(PY) -m pytest -n 2 --dist loadgroup
# What runs the modules that are compiled (HOT_MODULES in tools/hatch_build.py).
HOT_TESTS = $(wildcard tests/golden/test_*.py tests/unit/test_tools_build.py tests/property/test_snapshot_plain.py \
  $(foreach room,commitlog core cql merge load,tests/unit/test_$(room)_*.py tests/property/test_$(room)_*.py))

# Tests start the package in processes of its own, each of which would have to compile every module anew.
unexport PYTHONDONTWRITEBYTECODE
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup lock check format test test-pure test-compiled test-properties test-matrix test-chaos demo bench \
  compiled compiled-for-tests requirements clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(VENV)/.stamp-venv:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "error: $(PYTHON) was not found; install Python 3.11 or newer, or name one: make setup PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: $(PYTHON) is older than Python 3.11; install a newer one, or name it: make setup PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "error: $(PYTHON) comes without venv or ensurepip; install them (Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.stamp-dependencies: requirements.lock | $(VENV)/.stamp-venv
	@echo "installing the locked dependencies into $(VENV)"
	@$(PY) -m pip install --quiet --require-hashes --requirement requirements.lock || { \
	  echo "error: the dependencies were not installed (see above); check the network and run make setup again" >&2; exit 1; }
	@touch $@

$(VENV)/.stamp-project: pyproject.toml $(VENV)/.stamp-dependencies
	@$(PY) -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

setup: $(VENV)/.stamp-project ## create .venv with the locked dependencies and the project itself

lock: ## write requirements.lock anew from pyproject.toml (needs uv)
	@command -v $(UV) >/dev/null || { echo "error: make lock needs uv; install it, or name it: make lock UV=/path/to/uv" >&2; exit 1; }
	$(UV) pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 \
	  --extra dev --group test pyproject.toml -o requirements.lock

check: setup ## ruff, mypy --strict and the layers
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports

format: setup ## let ruff put the code into shape
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

test: setup ## the whole suite; tests of the hot modules also on the compiled ones
	@$(MAKE) --no-print-directory -j 2 test-pure compiled-for-tests
	@$(MAKE) --no-print-directory test-compiled

test-pure: setup
	$(PYTEST) tests

test-compiled: compiled-for-tests
	@if [ -e $(COMPILED_FOR_TESTS)/.complete ]; then \
	  CASSCADE_EXPECT_COMPILED=1 PYTHONPATH=$(COMPILED_FOR_TESTS) $(PYTEST) $(HOT_TESTS); \
	else echo "no C compiler here: the tests ran on the pure modules only"; fi

test-properties: setup ## the property tests with ten times their examples, new ones in each run; minutes
	CASSCADE_TEST_EXAMPLES=10 $(PYTEST) --timeout 1800 tests/property

test-matrix: setup ## every supported version of Cassandra and PostgreSQL; docs/versions.md tells how to read it
	@$(PY) -m tests.matrix.run $(MATRIX)

test-chaos: setup ## random actions, kills and crashes under load, for ten minutes; CHAOS="--all" for all of them
	@$(PY) -m tests.chaos.run $(CHAOS)

compiled: setup ## a copy of the package with its hot modules compiled, in build/compiled
	@$(PY) tools/hatch_build.py $(COMPILED)

compiled-for-tests: setup # the same without the C compiler's optimizer, which takes as long as all the rest
	@$(PY) tools/hatch_build.py --unoptimized $(COMPILED_FOR_TESTS)

demo: setup ## real Cassandra to real PostgreSQL on this machine, with a proof at the end
	@$(VENV)/bin/casscade demo

bench: setup ## measure this machine: the pipeline against PostgreSQL's own limit
	@$(VENV)/bin/casscade bench

requirements: setup ## which tests prove which requirement
	@$(PY) tools/requirements_report.py

clean: ## remove what was built (.venv stays)
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
