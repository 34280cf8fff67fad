# `make serve` and `make test` set themselves up: virtual environment, packages, models.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# Each process of the tests loads the model for itself: some 2 GB.
TEST_PROCESSES ?= 2
# Where the results of `make eval-smoke` are put.
EVALS ?= build/evals
# Of each kind, to each address.
FUZZ_EXAMPLES ?= 50

.PHONY: help serve test eval-smoke soak fuzz lint types format clean
help:
	@echo "make serve   install what is needed and serve on 127.0.0.1:8000"
	@echo "make test    install what is needed and run all tests"
	@echo "make eval-smoke  run every evaluation in small, on data made here (two minutes)"
	@echo "make soak    run the engine for ten thousand turns (minutes)"
	@echo "make fuzz    send the service a great deal of nonsense (minutes)"
	@echo "make lint    formatting, lint and import rules;   make types   type checks"
	@echo "make format  reformat the code;                   make clean   remove the virtual environment"

serve: $(VENV)/.installed
	@$(BIN)/perdure serve

test: $(VENV)/.installed-dev
	@$(BIN)/perdure models fetch
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile $(PYTEST_ARGS)

eval-smoke: $(VENV)/.installed-dev
	@$(BIN)/perdure models fetch
	$(BIN)/python -m evals.smoke $(EVALS)

soak: $(VENV)/.installed-dev
	@$(BIN)/perdure models fetch
	$(BIN)/python -m pytest -m soak -s $(PYTEST_ARGS)

fuzz: $(VENV)/.installed-dev
	@$(BIN)/perdure models fetch
	FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(BIN)/python -m pytest tests/app/test_openapi.py $(PYTEST_ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: $(VENV)/.installed-dev
	$(BIN)/mypy

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Perdure needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name another: make PYTHON=python3.12 ...")'
	@echo "Making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	@echo "Installing Perdure and what it needs (some minutes the first time)"
	@$(BIN)/python -m pip install --progress-bar on -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	@echo "Installing Perdure, what it needs and its test tools (some minutes the first time)"
	@$(BIN)/python -m pip install --progress-bar on -e '.[dev]'
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV)
