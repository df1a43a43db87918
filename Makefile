# Everything runs from .venv, which is built on first use from pinned versions (constraints.txt).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Published loss curves, a folder per model size; without it the benchmark of forecasts leaves them out.
CURVES ?= ../shared/reference/loss_curves

.PHONY: setup quickstart test test-slow lint types bench compare screenshots clean

# pip comes last into a virtual environment: where it is missing, the last attempt broke off.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "riverrun needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	@$(PYTHON) -m venv $(VENV)

# The library alone: enough to train.
$(VENV)/.base: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "Setting up .venv: torch and a few small packages, once."
	@$(BIN)/pip install --quiet -c constraints.txt -e .
	@touch $@

# And what tests, checks and benchmarks need.
$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "Setting up .venv for development: tests, checks and benchmarks, once."
	@$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	@# Alone, since it asks for a datasets that is older than what the rest agrees on; what else it needs is in dev.
	@$(BIN)/pip install --quiet --no-deps torchtitan==0.3.0
	@touch $@ $(VENV)/.base

setup: $(VENV)/.dev

quickstart: $(VENV)/.base
	@$(BIN)/riverrun train recipes/quickstart.toml --run runs/quickstart --until "next 1x"

# A worker a core, each of one thread. Tests go one by one to whichever is free; those of one xdist_group stay together.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadgroup

test: $(VENV)/.dev
	$(PYTEST)

# What takes minutes: every claim of the labs at its full size.
test-slow: $(VENV)/.dev
	$(PYTEST) -m slow

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

# A peer of merges. It wants what it wants of transformers, so it has an environment of its own.
$(VENV)/mergekit/bin/mergekit-yaml: | $(BIN)/pip
	@echo "Setting up mergekit, to measure beside it, once."
	@$(PYTHON) -m venv $(VENV)/mergekit
	@$(VENV)/mergekit/bin/pip install --quiet 'torch==2.13.0' 'mergekit==0.1.5'

bench: $(VENV)/.dev $(VENV)/mergekit/bin/mergekit-yaml
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/averaging.py
	$(BIN)/python -W ignore benchmarks/averager.py
	$(BIN)/python benchmarks/history.py
	$(BIN)/python benchmarks/merge.py --mergekit $(VENV)/mergekit/bin/mergekit-yaml
	$(BIN)/python benchmarks/ingest.py
	$(BIN)/python benchmarks/gpu.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/theory.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/forecast.py --curves $(CURVES)

# The tables and figures of the README, in half an hour on two cores; what is there already is not trained again.
compare: $(VENV)/.dev
	$(BIN)/riverrun compare anytime-tiny
	$(BIN)/riverrun compare wsds-tiny

# The pictures of the page in the docs, of a run with some branches: make screenshots RUN=runs/quickstart
screenshots: $(VENV)/.dev
	$(BIN)/python docs/screenshots.py $(RUN)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
