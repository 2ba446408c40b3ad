# Two commands do everything on a machine that has Python 3.11+, make and a package index:
#   make demo   install, then draw the buildings of a rendered town with the shipped model
#   make test   install with test tools, then lint, type-check and run all tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
# Processes that run tests, each with up to 2.5 GB of memory: `make test JOBS=4` where there is room.
JOBS := 2

.PHONY: demo test lint clean
.DELETE_ON_ERROR:

# Made anew only when the dependencies change: a second run starts within seconds.
$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "buildex needs Python 3.11 or newer; name one with \`make PYTHON=python3.12\`"; exit 1; }
	$(BIN)/python -c '' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: --no-binary buildex -e .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: --no-binary buildex -e '.[test]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/buildex demo $(DEMO) --overwrite

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest --numprocesses $(JOBS)

clean:
	rm -rf $(VENV) $(DEMO) build dist *.egg-info
