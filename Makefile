# make tag     install the base (no torch) and tag the example recording
# make test    install everything for development and run the quick tests, in one process per core
# make slow    the tests that take more than 20 s each, one after another
# make check   format, lint, types, doctests, layers, docs
# make docs    write the generated parts of the documentation anew
# make clean   remove what these made

PYTHON ?= python3
VENV := .venv
DEV := .venv-dev
PIP_OPTIONS := --quiet --disable-pip-version-check -c constraints.txt

.PHONY: tag test slow check docs clean

tag: $(VENV)/installed
	$(VENV)/bin/auricle tag examples/scene.ogg --windows --threshold 0.3

test: $(DEV)/installed
	$(DEV)/bin/python -m pytest -n auto --dist loadfile --durations=20 --durations-min=5

slow: $(DEV)/installed
	$(DEV)/bin/python -m pytest -m 'slow and not gpu and not network'

check: $(DEV)/installed
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/ruff check .
	$(DEV)/bin/mypy
	$(DEV)/bin/python -m pytest -q auricle tests/test_layers.py tests/test_docs.py

docs: $(DEV)/installed
	$(DEV)/bin/python docs/generate.py

clean:
	rm -rf $(VENV) $(DEV) build .pytest_cache .mypy_cache .ruff_cache

# An environment is made anew when what it is made from has changed.
$(VENV)/installed: pyproject.toml constraints.txt
	$(call new_environment,$(VENV))
	@echo 'installing auricle without torch: a minute or two'
	@$(VENV)/bin/python -m pip install $(PIP_OPTIONS) -e .
	@touch $@

$(DEV)/installed: pyproject.toml constraints.txt
	$(call new_environment,$(DEV))
	@echo 'installing auricle with torch and all that the tests need: some minutes'
	@$(DEV)/bin/python -m pip install $(PIP_OPTIONS) -e '.[dev]' torch==2.13.0
	@touch $@

define new_environment
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	echo "auricle needs Python 3.11 or newer, and $(PYTHON) is not: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
@rm -rf $(1)
@$(PYTHON) -m venv $(1)
endef
