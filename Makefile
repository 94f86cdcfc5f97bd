# The commands of the project. Each target makes .venv from requirements.lock first; that costs nothing when it is up to date.
# Needs make and a Python from 3.11 to 3.13 with venv, nothing else. Another interpreter: make demo PYTHON=/path/to/python3.12

SHELL := /bin/sh
.SHELLFLAGS := -eu -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

# What an activated environment or a shell profile may have set must not leak into .venv
unexport VIRTUAL_ENV CONDA_PREFIX PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONDONTWRITEBYTECODE PIP_USER PIP_TARGET PIP_PREFIX PIP_REQUIRE_VIRTUALENV PIP_PYTHON
unexport UV_PYTHON UV_SYSTEM_PYTHON UV_PROJECT_ENVIRONMENT UV_TARGET UV_PREFIX UV_CONSTRAINT UV_OVERRIDE UV_REQUIRE_HASHES UV_NO_BINARY

PYTHON ?=
PORT ?= 3000
PYTEST_ARGS ?=
WORKERS ?= 2
# a process that dies takes its tests along: the run ends red at once and names the test; one put in its place would wait for ever
DEALT := -n $(WORKERS) --max-worker-restart=0
# what files, events and pulls can do to ingestion; `make test` runs it too
HOSTILE := tests/unit/test_corpus.py tests/unit/test_drift.py tests/unit/storage_events tests/unit/landing tests/unit/pull tests/unit/dagster/test_announced_drops.py
BIN := .venv/bin
STAMP := .venv/.stamp

.PHONY: help demo ui mlflow test lint format types imports lock check bench faults env clean clean-all

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' Makefile | while IFS='|' read -r target text; do printf '  make %-10s %s\n' "$$target" "$$text"; done

demo: $(STAMP) ## land the sample and run the whole chain: files to published forecasts
	@$(BIN)/ml-platform demo

ui: $(STAMP) ## the Dagster UI on 127.0.0.1, with daemon, sensors and schedules (PORT=3000)
	@exec $(BIN)/python -m sensors.serve --port $(PORT)

mlflow: $(STAMP) ## the MLflow UI on 127.0.0.1, on the same store (PORT=3000 of `make ui` stays free: this one is 5000)
	@exec $(BIN)/python -m ml_platform.mlflow_ui

test: $(STAMP) ## all tests, file by file in two processes (PYTEST_ARGS="-k name" for some, WORKERS=0 in one process)
	@$(BIN)/python -m pytest $(DEALT) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

lint: $(STAMP) ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: $(STAMP) ## ruff: repair what can be repaired
	@$(BIN)/ruff check --fix --exit-zero .
	@$(BIN)/ruff format .

types: $(STAMP) ## mypy --strict
	@$(BIN)/mypy

imports: $(STAMP) ## import-linter: who may import whom
	@$(BIN)/lint-imports --no-logo

lock: $(STAMP) ## write requirements.lock anew from pyproject.toml (needs the network)
	@$(BIN)/uv pip compile pyproject.toml --universal --all-extras --group dev --generate-hashes --no-emit-index-url --quiet -o requirements.lock

check: lint types imports ## lint, types and imports
	@$(BIN)/python scripts/check_lock.py

bench: $(STAMP) ## speed and accuracy beside peers, on a quiet machine (an hour and a half); writes docs/benchmarks.md
	@OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m bench

faults: $(STAMP) ## fault injection: kills, two writers, broken storage, full disks, hostile deliveries (twelve minutes)
	@$(BIN)/python -m pytest $(DEALT) --dist loadgroup --faults $(PYTEST_ARGS)
	@$(BIN)/python -m pytest $(DEALT) --dist loadgroup $(HOSTILE) $(PYTEST_ARGS)

env: $(STAMP) ## only make .venv
	@:

clean: ## remove caches and build output; .venv and .platform stay
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis htmlcov .coverage .coverage.* dbt/target dbt/logs dist
	@find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +

clean-all: clean ## also remove .venv and the platform's home .platform
	@rm -rf .venv .platform

$(STAMP): requirements.lock pyproject.toml scripts/make_env.sh
	@PYTHON="$(PYTHON)" sh scripts/make_env.sh
