# Everything runs in a virtual environment of its own, made from the pins in constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup search test check docs bundle clean

setup: $(VENV)/.complete

$(VENV)/.complete: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is older than Python 3.11: run make with PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python -m pip install --quiet \
		--disable-pip-version-check -e '.[dev]'
	@touch $@

search: setup
	$(BIN)/pruner-zero search $(ARGS)

test: setup check
	$(BIN)/python -m pytest $(ARGS)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@$(MAKE) --no-print-directory docs

# Every link, every reference and every page of the navigation is checked.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

# An offline kit for a machine with a GPU: PYTHON_VERSION is the target's, TORCH=1 adds torch.
PYTHON_VERSION ?= 3.12
bundle: setup
	$(BIN)/python benchmarks/bundle.py --python $(PYTHON_VERSION) $(if $(TORCH),--torch) $(ARGS)

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
