# One word per task; every word sets up what it needs, once, in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test check format bench notebooks docs clean

help: ## say what the words do
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 19

demo: $(STAMP) ## train a small real model with a fault and diagnose it
	@$(BIN)/neuraldbg demo

test: $(STAMP) ## run every test on all cores, with coverage
	@OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal --cov --cov-report=term

check: $(STAMP) ## format, lint, types, import contracts; changes nothing
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(STAMP) ## format, and fix what the linter can fix
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(STAMP) ## measure again; writes benchmarks/results
	@$(BIN)/python -m benchmarks.overhead
	@$(BIN)/python -m benchmarks.demos

notebooks: $(STAMP) ## execute the notebooks and keep their outputs
	@$(BIN)/python -m benchmarks.notebooks

docs: $(STAMP) ## write logic_graph.md, the tables of README and PLAN, the example's output and picture
	@$(BIN)/python -m benchmarks.logic_graph
	@$(BIN)/python -m benchmarks.readme

$(STAMP): pyproject.toml constraints.txt
	@echo "setting up $(VENV): a minute or two" >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev,trainers]"
	@touch $(STAMP)

clean: ## remove the environment and every cache
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
