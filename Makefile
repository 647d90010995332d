# Everything a developer types. `make setup` and `make test` need only Python 3.10+ with venv, and make; on Windows see docs/platform.md.
PYTHON ?= python3
VENV ?= .venv
DEMO_VENV ?= .venv-demo
LOWEST_VENV ?= .venv-lowest
DEMO_OUT ?= demo
# Tests keep to one thread each; this many run at once, a file's tests together, since they share what they load.
TEST_WORKERS ?= 2
CONSTRAINTS = constraints.txt
BIN = $(VENV)/bin
# A stalled connection is given up after half a minute and tried again.
INSTALL = -m pip install --quiet --timeout 30 --retries 8 --constraint $(CONSTRAINTS)
SOURCES := $(shell find lineament -type f ! -path '*/__pycache__/*' 2>/dev/null)
NEEDS_310 = import sys; sys.exit(sys.version_info < (3, 10) and "Lineament needs Python 3.10 or newer; say which with PYTHON=... (found " + sys.version.split()[0] + ")")

.PHONY: help setup demo test test-slow test-lowest lint format type imports check refit docs dist sbom audit-pins deploy-check bench constraints clean distclean

help:
	@echo "make setup      development environment in $(VENV), everything"
	@echo "make demo       core-only environment in $(DEMO_VENV), analyse the bundled photos"
	@echo "make test       the fast suite (sets up $(VENV) if needed)"
	@echo "make test-slow  the slow suite (its browser tests want chromium, its traces strace: apt-get install chromium strace)"
	@echo "make test-lowest  core, video and Parquet tests with the lowest versions that pyproject.toml allows, in $(LOWEST_VENV)"
	@echo "make lint | type | imports | check   ruff | mypy --strict | import-linter | all three"
	@echo "make refit      after the default weights changed: calibration, golden values, generated documents"
	@echo "make docs       the documentation site, in site/"
	@echo "make dist       wheel, sdist and the data-only wheel lineament-systems, checked in a fresh environment"
	@echo "make bench      speed of every stage, on this machine"
	@echo "make clean | distclean   remove what was built | and the environments"

setup: $(VENV)/.stamp-setup

$(VENV)/.stamp-setup: pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c '$(NEEDS_310)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python $(INSTALL) torch torchvision --editable '.[dev]'
	@touch $@

# -I: the installed package, not the checkout.
demo: $(DEMO_VENV)/.stamp-demo
	$(DEMO_VENV)/bin/python -I scripts/check_core.py
	$(DEMO_VENV)/bin/python -I -m lineament.demo --out $(DEMO_OUT)
	@$(DEMO_VENV)/bin/python scripts/venv_size.py $(DEMO_VENV) --max-mb 280

# Not editable and not cached: what a user gets from the wheel, without a stale build folder.
$(DEMO_VENV)/.stamp-demo: pyproject.toml $(CONSTRAINTS) $(SOURCES)
	@$(PYTHON) -c '$(NEEDS_310)'
	test -x $(DEMO_VENV)/bin/python || $(PYTHON) -m venv $(DEMO_VENV)
	rm -rf build
	$(DEMO_VENV)/bin/python $(INSTALL) .
	rm -rf build
	@touch $@

test: setup
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile $(PYTEST_ARGS)

test-slow: setup
	$(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

# What runs with the core and two extras; pytest and what follows it are the tests' own needs.
LOWEST_TESTS = tests/images tests/geometry tests/schema tests/detection tests/decision tests/pipeline tests/inputs tests/runs tests/runtime tests/offline/test_switches.py

test-lowest: $(LOWEST_VENV)/.stamp-lowest
	$(LOWEST_VENV)/bin/python -m pytest $(LOWEST_TESTS) -k "not avif" $(PYTEST_ARGS)  # AVIF needs Pillow 11.3, which the page on formats says

$(LOWEST_VENV)/.stamp-lowest: pyproject.toml scripts/lowest.py
	@$(PYTHON) -c '$(NEEDS_310)'
	test -x $(LOWEST_VENV)/bin/python || $(PYTHON) -m venv $(LOWEST_VENV)
	$(LOWEST_VENV)/bin/python scripts/lowest.py parquet video > $(LOWEST_VENV)/lowest.txt
	$(LOWEST_VENV)/bin/python -m pip install --quiet --timeout 30 --retries 8 --constraint $(LOWEST_VENV)/lowest.txt --editable '.[parquet,video]' pytest hypothesis onnx jsonschema scikit-image
	@touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

type: setup
	$(BIN)/mypy

imports: setup
	$(BIN)/lint-imports --no-logo

check: lint type imports

refit: setup
	$(BIN)/python scripts/refit.py
	$(BIN)/python scripts/snippets.py
	$(BIN)/python scripts/third_party.py

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html"

bench: setup
	$(BIN)/lineament bench --json runs/bench.json

# A CycloneDX list of what a pinned installation holds; `make dist` calls it.
sbom: setup
	$(BIN)/python scripts/sbom.py

# The pins against the PyPA advisory database; skipped, with the reason, where it cannot be had.
audit-pins: setup
	$(BIN)/python scripts/audit_pins.py

# deploy/: linters where they are installed, and the settings that matter.
deploy-check: setup
	$(BIN)/python deploy/check.py

constraints: setup
	$(BIN)/python scripts/constraints.py

clean:
	rm -rf build dist site $(DEMO_OUT) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
	find lineament tests scripts benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# Wheel, sdist and the data-only wheel of trained systems; then both wheels tried in a fresh environment.
dist: setup
	rm -rf dist
	$(BIN)/python scripts/dist.py
	$(BIN)/python scripts/check_dist.py
	$(BIN)/python scripts/sbom.py

distclean: clean
	rm -rf $(VENV) $(DEMO_VENV) $(LOWEST_VENV)
