# The commands of this project. `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev lock demo cluster-demo up test test-fast test-long test-cluster check lint docs bench clean

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.installed ## install the pinned run-time set into .venv
setup-dev: $(VENV)/.installed-dev ## install the pinned development set into .venv

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("minute-lake needs Python 3.11 to 3.13, this is " + sys.version) if not (3,11) <= sys.version_info[:2] <= (3,13) else 0'
	$(PYTHON) -m venv $(VENV)

# One lock file at a time, hashes required, wheels only, and the project itself without build isolation:
# nothing is resolved at install time.
$(VENV)/.installed: requirements.lock pyproject.toml | $(VENV)/bin/python
	@echo "installing the pinned run-time set (a minute or two) ..."
	$(PIP) install --require-hashes --no-deps --only-binary :all: -r requirements.lock
	$(PIP) install --no-build-isolation --no-deps -e .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	@echo "installing the pinned development set ..."
	$(PIP) install --require-hashes --no-deps --only-binary :all: -r requirements-dev.lock
	@touch $@

demo: setup ## backfill two symbols and two days on the simulator, print what was written (under 5 minutes)
	$(BIN)/lake demo

cluster-demo: setup-dev ## Postgres, Redis, an S3 server, three Celery workers; kill and restart them, compare with one machine (about 10 minutes)
	$(BIN)/python -m lake_tests.bench.cluster_demo

up: setup ## start webserver, daemon and simulator; LAKE_EXCHANGE=binance for the real exchange
	$(BIN)/lake up

# Two more workers than cores: two of them have the journeys, which mostly wait, for the daemon's rounds or for a minute to pass.
TEST_WORKERS ?= -n 4 --dist loadfile

# The types take one core the better part of a minute: they are looked at while the tests begin, and told at the end.
test: setup-dev lint ## lint, types, layers, all tests but those of the two below
	@{ $(BIN)/mypy && $(BIN)/lint-imports; } > $(VENV)/types.log 2>&1 & types=$$!; \
	echo "$(BIN)/python -m pytest $(TEST_WORKERS)"; $(BIN)/python -m pytest $(TEST_WORKERS); tests=$$?; \
	wait $$types; types=$$?; cat $(VENV)/types.log; exit $$((tests ? tests : types))

test-fast: setup-dev ## the tests that are neither slow nor journeys
	$(BIN)/python -m pytest $(TEST_WORKERS) -m "not slow and not e2e and not long and not cluster"

test-long: setup-dev ## the long forms of tests that the suite has short: a hundred kills, two hundred hours, three weeks
	$(BIN)/python -m pytest $(TEST_WORKERS) -m long

test-cluster: setup-dev ## the cluster of the demo in small, with the same accidents; CI runs it after the others (about 4 minutes)
	$(BIN)/python -m pytest -m cluster lake_tests/e2e

check: lint ## lint, format, types, import layers
	$(BIN)/mypy
	$(BIN)/lint-imports

lint: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

docs: setup-dev ## write the generated pages anew
	$(BIN)/python -m lake_assets.tables.dictionary minute > docs/data-dictionary.md
	for name in bars_1s klines macro; do $(BIN)/python -m lake_assets.tables.dictionary $$name > docs/data-dictionary-$$name.md; done
	$(BIN)/python -m lake_resources.settings_page > docs/settings.md
	$(BIN)/python -m lake_assets.cli.page > docs/cli.md

bench: setup .venv-bench/.installed ## measure the speed targets, a line each: id, measured, target, ok or short (about 40 minutes)
	$(BIN)/python -m lake_tests.bench

# What the lake is compared with lives apart: its requirements are not ours.
.venv-bench/.installed: requirements-bench.lock
	@echo "installing the pinned competitors ..."
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip --disable-pip-version-check -q install --require-hashes --no-deps --only-binary :all: -r requirements-bench.lock
	@touch $@

clean: ## remove what the demo and the tests wrote (not the lake of the real exchange)
	rm -rf data/simulator dagster_home/simulator

lock: ## resolve the dependencies anew (needs uv)
	uv pip compile pyproject.toml --overrides left-out.txt --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --only-binary :all: --upgrade -q -o requirements.lock
	uv pip compile pyproject.toml --extra dev --overrides left-out.txt --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --only-binary :all: -c requirements.lock -q -o requirements-dev.lock
	uv pip compile lake_tests/bench/requirements.in --overrides lake_tests/bench/left-out.txt --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --only-binary :all: --upgrade -q -o requirements-bench.lock
