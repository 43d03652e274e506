# Two commands: `make demo` segments the example cases, `make test` runs everything that CI runs.
# Needs Python 3.11 to 3.13, make and a package index; nothing is compiled.

PYTHON ?= python3
DEMO_VENV := .venv-demo
TEST_VENV := .venv
LEAN_VENV := .venv-lean
BUNDLE := models/eenet-fast-phantom
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check

.PHONY: demo test check lean pytest gpu clean

demo: $(DEMO_VENV)/.installed
	$(DEMO_VENV)/bin/eenet-run infer folder examples demo-output --model $(BUNDLE)
	@echo
	@echo "masks, reports and previews: demo-output/   (phantoms: synthetic tumours, never patients)"

# Everything that CI runs, cheapest first.
test: check lean pytest

check: $(TEST_VENV)/.installed
	$(TEST_VENV)/bin/ruff check
	$(TEST_VENV)/bin/ruff format --check
	$(TEST_VENV)/bin/mypy
	$(TEST_VENV)/bin/lint-imports

pytest: $(TEST_VENV)/.installed
	$(TEST_VENV)/bin/python -m pytest

# The base install in an environment of its own: proves that the runtime starts without any extra.
lean: $(LEAN_VENV)/.installed
	$(LEAN_VENV)/bin/python tests/architecture/check_lean_install.py

# On a machine with an NVIDIA GPU; fails, rather than skips, where there is none.
gpu: $(TEST_VENV)/.installed
	$(TEST_VENV)/bin/python -m pytest -m gpu --require-gpu

$(DEMO_VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(DEMO_VENV)
	$(DEMO_VENV)/bin/python $(PIP_INSTALL) ".[cpu]"
	@touch $@

$(LEAN_VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(LEAN_VENV)
	$(LEAN_VENV)/bin/python $(PIP_INSTALL) .
	@touch $@

# Dependency groups need pip 25.1; the pip of a new environment may be older.
$(TEST_VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(TEST_VENV)
	$(TEST_VENV)/bin/python $(PIP_INSTALL) --upgrade "pip>=25.1"
	$(TEST_VENV)/bin/python $(PIP_INSTALL) --group dev --editable ".[all-cpu]"
	@touch $@

clean:
	rm -rf $(DEMO_VENV) $(TEST_VENV) $(LEAN_VENV) demo-output build dist
