# The one entrance. Each target makes the virtual environment it needs; nothing but python3 is assumed.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: help demo test fast lint bench sim planted mutants format clean
help:            ## what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "quorate needs Python 3.11 or newer; try: make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing what quorate needs into $(VENV) (once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev
	@touch $@

demo: $(READY)   ## three nodes, a kill, a partition, a heal; under a minute
	@$(BIN)/quorate demo

test: $(READY)   ## all tests
	@$(BIN)/python -m pytest -q

fast: $(READY)   ## the tests without the slow ones
	@$(BIN)/python -m pytest -q -m 'not slow'

lint: $(READY)   ## ruff, mypy strict, pyright, import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/pyright --pythonpath $(BIN)/python
	@$(BIN)/lint-imports --no-cache

bench: $(READY)  ## figures, beside peers in the same run
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --group bench
	@$(BIN)/python -m benchmarks

sim: $(READY)    ## a campaign: all workloads under all faults, many more seeds than `make test` runs
	@for workload in registry singletons register messages; do \
	  $(BIN)/quorate jepsen sim --workload $$workload --seeds 1..200 --shrink --report build/sim/$$workload || exit $$?; \
	done
	@$(BIN)/python -m tests.consensus.raft.sweep

planted: $(READY) ## bugs planted in the library, one by one: the simulation finds each, or this fails
	@$(BIN)/python -m tests.planted --write

mutants: $(READY) ## deliberate bugs in Raft and in processes, one by one; the tests catch each, or this fails
	@$(BIN)/python -m tests.mutants

format: $(READY)
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info
