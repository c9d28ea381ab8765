# TAUDIS for Label Studio.   make | make demo | make test | make help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := check

PYTHON ?= python3.11
ifeq ($(shell command -v $(PYTHON)),)
PYTHON := python3
endif
UV_VERSION := 0.13.9
BIN := .venv/bin
UV := .venv-tools/bin/uv
SOURCES := taudis backend demo benchmarks tests _wsgi.py
JOBS ?= 2
# Files in the order of their folders: the longest ones have few tests, and would run last.
PARALLEL := $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder
# Two spinning OpenMP threads on shared cores are several times slower than one.
export OMP_NUM_THREADS ?= 1
export PYTHONUNBUFFERED := 1
# Where it is set, each of some hundred processes compiles PyTorch's source anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help check format lint types fast test install dev studio exporters browser torture soak demo bench wheel lock clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

check: lint types fast  ## format check, lint, types, fast tests (the default)

lint: dev
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)

format: dev  ## reformat and fix what can be fixed
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

types: dev
	$(BIN)/mypy

fast: dev
	$(PARALLEL) -m "not slow and not studio and not browser and not exporters"

# A Label Studio waits as much as it computes, so two of them share the cores. Which tasks are validation depends on
# their ids: the order of the tests of a process stays the same. tests/studio/test_burst.py measures times, alone.
STUDIO := $(BIN)/python -m pytest -m "studio or browser"
STUDIO_FIRST := tests/browser tests/contract $(wildcard tests/studio/test_[t-v]*.py)
STUDIO_ALONE := tests/studio/test_burst.py

# The installations wait for the network, so they run side by side with the checks.
test:  ## the whole suite: real Label Studio and browser included
	$(MAKE) --no-print-directory -j4 dev studio exporters browser lint types
	failed=0; mkdir -p .cache; echo "== after $$SECONDS s: tests without Label Studio"; \
	$(PARALLEL) -m "not studio and not browser" || failed=$$?; \
	echo "== after $$SECONDS s: tests with Label Studio"; \
	$(STUDIO) $(STUDIO_FIRST) >.cache/studio-first.log 2>&1 & first=$$!; \
	trap 'kill $$first 2>/dev/null || true' EXIT; \
	$(STUDIO) tests/studio $(patsubst %,--ignore=%,$(STUDIO_FIRST) $(STUDIO_ALONE)) || failed=$$?; \
	echo "== after $$SECONDS s: the second stream"; \
	wait $$first || failed=$$?; cat .cache/studio-first.log; \
	echo "== after $$SECONDS s: tests that measure times"; \
	$(STUDIO) $(STUDIO_ALONE) || failed=$$?; \
	echo "== $$SECONDS s in all"; \
	exit $$failed

# What passed at this commit is not run again. The last line is JSON; see docs/reliability.md.
torture: dev studio browser  ## every fault test in its full form; writes docs/reliability.md
	$(BIN)/python -m tests.reliability run

SOAK_MINUTES ?= 120
soak: dev  ## simulated annotators for two hours: memory, open files and disk stay flat
	SOAK_MINUTES=$(SOAK_MINUTES) $(BIN)/python -m pytest tests/faults/test_soak.py

demo: install studio  ## the main job against a real Label Studio; DEMO=auto labels by itself
	$(BIN)/python -m demo

# benchmarks/accuracy.py, correction.py and gpu.py want a data set or a card: see docs/benchmarks.md
BENCHMARKS := detector selection memory webhook
bench: dev studio  ## the benchmarks, JSON as the last line of each
	for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python -m "benchmarks.$$name"; done

# --- environments ------------------------------------------------------------------------------

install: .venv/.installed  ## .venv with what the backend needs
	@echo "Installed in .venv. Next: .venv/bin/python -m backend doctor"
dev: .venv/.dev
studio: .venv-studio/.installed
exporters: .venv-exporters/.installed

UV_STAMP := .venv-tools/.uv-$(UV_VERSION)
$(UV_STAMP):
	$(PYTHON) -m venv .venv-tools || { echo "Python's venv module is needed (Debian: apt-get install python3-venv)"; exit 1; }
	.venv-tools/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	touch $@

define sync
	test -f $(1)/pyvenv.cfg -a -x $(1)/bin/python || $(UV) venv --clear --quiet --python-preference only-system --python $(PYTHON) $(1)
	$(UV) pip sync --quiet --require-hashes --python $(1)/bin/python $(2)
endef

.venv/.installed: requirements.txt | $(UV_STAMP)
	$(call sync,.venv,requirements.txt)
	rm -f .venv/.dev
	touch $@

.venv/.dev: requirements.txt requirements-dev.txt | $(UV_STAMP)
	$(call sync,.venv,requirements-dev.txt)
	touch .venv/.installed $@

.venv-studio/.installed: requirements-studio.txt | $(UV_STAMP)
	$(call sync,.venv-studio,requirements-studio.txt)
	touch $@

.venv-exporters/.installed: requirements-exporters.txt | $(UV_STAMP)
	$(call sync,.venv-exporters,requirements-exporters.txt)
	touch $@

browser:
	command -v chromium >/dev/null || { apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } \
	  || { echo "The browser tests need Debian's chromium: apt-get install chromium (as root)"; exit 1; }

wheel: dev  ## build the Python package into dist/
	$(UV) build --quiet --wheel --no-build-isolation --python $(BIN)/python --out-dir dist
	rm -rf build *.egg-info
	ls dist/*.whl

# Fully pinned, with hashes, without index addresses.
LOCK := $(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11
lock: $(UV_STAMP)  ## resolve pyproject.toml anew into the four lock files
	$(LOCK) pyproject.toml --group label-studio-ml -o requirements.txt
	$(LOCK) pyproject.toml --group label-studio-ml --group dev -c requirements.txt -o requirements-dev.txt
	$(LOCK) --group studio -o requirements-studio.txt
	$(LOCK) --group exporters -o requirements-exporters.txt

clean:  ## remove environments and caches
	rm -rf dist build .venv .venv-tools .venv-studio .venv-exporters .cache .demo artefacts .mypy_cache .ruff_cache .pytest_cache
