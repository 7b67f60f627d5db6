# Every target creates the virtual environment and installs what it needs first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: tour test fast conformance lint bench clean help

help:
	@echo "make tour   train, look inside, export: under two minutes"
	@echo "make test   the whole test suite"
	@echo "make fast   the quick tests only"
	@echo "make conformance   the array API's public test suite, where it is present"
	@echo "make lint   ruff, mypy, import order"
	@echo "make bench  compare with the other frameworks (installs them)"

$(VENV)/.base: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Pellucid needs Python 3.11 or newer; set PYTHON=python3.x"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e .
	@touch $@

$(VENV)/.test: $(VENV)/.base
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[test]'
	@touch $@

$(VENV)/.bench: $(VENV)/.base
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[bench]'
	@touch $@

tour: $(VENV)/.base
	@$(BIN)/pellucid tour

lint: $(VENV)/.test
	$(BIN)/ruff check src tests
	$(BIN)/ruff format --check src tests
	$(BIN)/mypy
	$(BIN)/lint-imports

fast: $(VENV)/.test
	$(BIN)/pytest -m "not slow" -n 2

test: $(VENV)/.test
	$(BIN)/python tests/run.py

conformance: $(VENV)/.test
	@$(BIN)/python tests/conformance.py $(ARGS)

bench: $(VENV)/.bench
	$(BIN)/pellucid bench --json bench.json

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
