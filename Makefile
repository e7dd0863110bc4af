# Everything a fresh machine with Debian, Python 3.11 and make needs: `make demo`, `make test`.
PYTHON ?= python3
BIN := .venv/bin
DEMO := demo
JOBS ?= 2

.PHONY: install demo check test test-slow docs clean

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: .venv/installed
	@RBT_PROGRESS=1 BIN=$(CURDIR)/$(BIN) EXAMPLES=$(CURDIR)/examples sh examples/demo.sh $(DEMO)

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: .venv/installed
	$(BIN)/python -m pytest -m "not slow" -n $(JOBS) --dist loadfile

test-slow: .venv/installed
	$(BIN)/python -m pytest -m slow

docs: .venv/installed
	$(BIN)/python docs/generate_cli.py
	$(BIN)/python docs/generate_recipe.py

clean:
	rm -rf .venv $(DEMO) build dist *.egg-info
