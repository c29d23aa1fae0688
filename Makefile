# make run: replay a month of Polaris.  make test: everything that must hold.  make docs: the site, into build/docs.
# make check: what can be tried in a quarter of an hour to find something wrong (CHECK="--examples 20").
# Each installs on its first call only.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: run test check bench docs docs-links lint types versions lowest clean

run: $(INSTALLED)
	$(BIN)/hpcsim run scenarios/polaris.yaml

test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal -rs

check: $(INSTALLED)
	$(BIN)/python -m benchmarks.check_all $(CHECK)

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks.speed
	$(BIN)/python -m benchmarks.machine_speed
	$(BIN)/python -m benchmarks.env_speed
	$(BIN)/python -m benchmarks.fork
	$(BIN)/python -m benchmarks.seeing
	$(BIN)/python -m benchmarks.checking

types: $(INSTALLED)
	$(BIN)/pytest tests/public_types.py

versions:
	$(PYTHON) tests/supported.py versions

lowest:
	$(PYTHON) tests/supported.py lowest

docs: $(INSTALLED)
	$(BIN)/python docs/scenario_reference.py
	$(BIN)/sphinx-build -q -W --keep-going -d build/doctrees docs build/docs

docs-links: $(INSTALLED)  # asks the sites that the pages lead to, so it needs a network
	$(BIN)/sphinx-build -b linkcheck -d build/doctrees docs build/docs-links

$(INSTALLED): pyproject.toml constraints.txt
	@echo "installing into .venv: this takes some minutes"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[twins,rl,parsl,tune,docs,dev]'
	touch $@

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
