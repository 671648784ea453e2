PYTHON ?= python3
VENV ?= .venv
BUDGET ?= 50
CATEGORY ?= tile
ARGS ?=
WORKERS ?= 2

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PYTEST := $(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: launch test check lint types clean

launch: $(INSTALLED)
	$(BIN)/tuner launch --category $(CATEGORY) --budget $(BUDGET) $(ARGS)

test: lint types
	$(PYTEST)

check: lint types
	$(PYTEST) -m 'not heavy'

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy -n $(WORKERS)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
