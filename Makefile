# Every target makes the environment that it needs: PYTHON chooses the interpreter, VENV the
# folder, and RESOLUTION=lowest-direct the lowest versions that pyproject.toml allows.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# The CUDA wheels where an NVIDIA driver answers: CUDA 13 from driver 580 on.
DRIVER := $(shell versions=$$(nvidia-smi --query-gpu=driver_version \
	--format=csv,noheader 2>/dev/null) && echo "$$versions" | head -n 1 | cut -d. -f1)
EXTRA := $(if $(DRIVER),$(shell [ $(DRIVER) -ge 580 ] && echo [cuda13] || echo [cuda12]))

PYTEST := $(BIN)/python -m pytest --numprocesses=2 --dist=worksteal
QUICK := -m "not e2e and not heavy and not slow"
# Where `test-dist` installs the wheel; several, separated by spaces.
PYTHONS ?= $(BIN)/python

.DEFAULT_GOAL := help
.PHONY: help install quickstart train summary results test test-x64 \
	test-lowest test-all test-slow test-browser test-faults test-dist dist docs lint \
	format type bench gpu-plan clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' Makefile

install: $(VENV)/.installed ## Make .venv with all that a run, the tests and the tools need

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
ifdef RESOLUTION
	$(BIN)/python -m pip install --quiet --group lowest
	$(BIN)/uv pip compile --quiet --no-header --no-annotate --resolution=$(RESOLUTION) \
		--python=$(BIN)/python --output-file=$(VENV)/versions.txt pyproject.toml
	$(BIN)/python -m pip install --quiet --constraint=$(VENV)/versions.txt --editable . \
		--group dev
else
	$(BIN)/python -m pip install --quiet --editable ".$(EXTRA)" --group dev
endif
	@touch $@

quickstart: install ## Train the half-width network on bundled digits (no download)
	$(BIN)/python -m alexnet_jax.main --config=experiments/digits.py

train: install ## Train AlexNet on Fashion-MNIST, as d2l does
	$(BIN)/python -m alexnet_jax.main --config=experiments/fashion.py

summary: install ## List the networks
	@$(BIN)/python -m alexnet_jax.summary --list

results: install ## Write the tables of README and docs/results.md from results/
	$(BIN)/python -m benchmarks.readme_tables

test: install ## Run the quick tests, two at a time, in 5 minutes
	$(PYTEST) $(QUICK)

test-x64: install ## Run the quick tests that compute, with JAX's 64-bit types allowed
	JAX_ENABLE_X64=1 $(PYTEST) $(QUICK) --ignore=tests/benchmarks --ignore=tests/data \
		--ignore=tests/terminal

test-lowest: ## Run the quick tests with the lowest versions that pyproject.toml allows
	$(MAKE) test VENV=.venv-lowest RESOLUTION=lowest-direct

test-all: install ## Run all tests but the slow ones, in 20 minutes
	$(PYTEST)

test-slow: install ## Run the tests that take long (installs PyTorch and what else they compare with)
	$(BIN)/python -m pip install --quiet --editable ".[torch]" --group references
	$(PYTEST) -m slow --ignore=tests/browser --ignore=tests/faults --ignore=tests/dist

test-browser: install ## Look at pages in Chromium or Chrome, which must be there
	$(BIN)/python -m pip install --quiet --group browser --group docs
	@$(BIN)/python -m tests.browser.chromium
	$(PYTEST) -m slow tests/browser

test-faults: install ## Break runs in every way that a bad day knows
	$(PYTEST) -m slow tests/faults

test-dist: dist ## Install the wheel in new environments of PYTHONS, and use it elsewhere
	PYTHONS="$(PYTHONS)" $(PYTEST) -m slow tests/dist

dist: install ## Build the wheel and the sdist into dist/, and check them
	$(BIN)/python -m pip install --quiet --group release
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*

docs: install ## Build the site of the documentation into build/site
	$(BIN)/python -m pip install --quiet --group docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

lint: install ## Check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: install ## Fix style and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

type: install ## Check types
	$(BIN)/mypy

bench: install ## Time both steps beside PyTorch's, in 9 minutes (installs PyTorch)
	$(BIN)/python -m pip install --quiet --editable ".[bench]"
	$(BIN)/python -m benchmarks.step

gpu-plan: .venv-gpu-plan/.installed ## Check what a step moves, compiled for an H100 (no GPU; 5 GB)
	nice .venv-gpu-plan/bin/python -m benchmarks.aot --check

.venv-gpu-plan/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 12) else \
		"error: gpu-plan wants Python 3.12; make gpu-plan PYTHON=python3.12")'
	$(PYTHON) -m venv .venv-gpu-plan
	.venv-gpu-plan/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	.venv-gpu-plan/bin/python -m pip install --quiet --editable . --group gpu-plan
	@touch $@

clean: ## Remove what was built; runs/ stays
	rm -rf .venv .venv-* build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
