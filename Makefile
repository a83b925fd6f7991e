# `make demo` and `make test` do everything from a fresh clone: no other step is needed.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
CORES ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)

.PHONY: demo test test-long judges lint format docs report clean

$(VENV)/.ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

demo: $(VENV)/.ready  ## the whole pipeline on the generated archive
	$(BIN)/snakemake --cores $(CORES)
	@$(BIN)/python workflow_scripts/report.py --show results/summary

test: $(VENV)/.ready  ## the default test suite
	$(BIN)/python -m pytest -n $(CORES) --dist worksteal

test-long: $(VENV)/.ready  ## everything that takes long or needs more than this machine may have
	$(BIN)/python -m pytest -m "long or slurm or conda or judges or scale or fuzz or browser"

judges: $(VENV)/.ready  ## our numbers and files beside those of cctbx, servalcat, gemmi
	$(BIN)/python -m pytest -m judges tests/judges

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint

format: $(VENV)/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile rules

docs: $(VENV)/.ready  ## the pages of docs/, every link checked, in results/docs
	$(BIN)/mkdocs build --strict --quiet

report: $(VENV)/.ready  ## one HTML page of the finished run
	$(BIN)/snakemake --report results/summary/report.html

clean:
	rm -rf results logs .snakemake
