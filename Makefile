# Two commands: `make demo` segments the example cases, `make test` runs everything that CI runs.
# Needs Python 3.11 to 3.13, make and a package index. The native CPU engine is built where a C++ compiler is there.

PYTHON ?= python3
DEMO_VENV := .venv-demo
TEST_VENV := .venv
LEAN_VENV := .venv-lean
BUNDLE := models/eenet-fast-phantom
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check
NATIVE := runtime/native
NATIVE_FILES := $(shell find $(NATIVE) -type f -not -path '*/build/*' -not -path '*/__pycache__/*')
CPP_FILES := $(filter %.cpp %.hpp,$(NATIVE_FILES))

# Build the native engine into an environment, or say in one line why the rest goes on without it.
define build_native
@if ! command -v $(CXX) >/dev/null && ! command -v c++ >/dev/null && ! command -v clang++ >/dev/null; then \
	echo "native engine: no C++ compiler found, going on without it (OpenVINO serves)"; \
elif $(1)/bin/python $(PIP_INSTALL) ./$(NATIVE) >$(1)/native.log 2>&1; then \
	echo "native engine: built"; touch $(1)/.native; \
else \
	echo "native engine: it did not build (see $(1)/native.log), going on without it (OpenVINO serves)"; \
fi
endef

.PHONY: demo test check format lean pytest gpu mutants clean

demo: $(DEMO_VENV)/.native
	$(DEMO_VENV)/bin/eenet-run infer folder examples demo-output --model $(BUNDLE)
	@echo
	@echo "masks, reports and previews: demo-output/   (phantoms: synthetic tumours, never patients)"

# Everything that CI runs, cheapest first.
test: check lean pytest

check: $(TEST_VENV)/.installed
	$(TEST_VENV)/bin/ruff check
	$(TEST_VENV)/bin/ruff format --check
	$(TEST_VENV)/bin/clang-format --dry-run --Werror $(CPP_FILES)
	$(TEST_VENV)/bin/mypy
	$(TEST_VENV)/bin/lint-imports

# What `check` asks of the layout of Python and C++.
format: $(TEST_VENV)/.installed
	$(TEST_VENV)/bin/ruff format
	$(TEST_VENV)/bin/clang-format -i $(CPP_FILES)

# Two workers, a file at a time, slow ones first (tests/conftest.py; by pytest-xdist's own order they would be last);
# then, one by one, what measures seconds or memory and must have the machine to itself.
pytest: $(TEST_VENV)/.native
	$(TEST_VENV)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not alone"
	$(TEST_VENV)/bin/python -m pytest -m alone

# The base install in an environment of its own: proves that the runtime starts without any extra.
lean: $(LEAN_VENV)/.installed
	$(LEAN_VENV)/bin/python tests/architecture/check_lean_install.py

# On a machine with an NVIDIA GPU; fails, rather than skips, where there is none.
gpu: $(TEST_VENV)/.installed
	$(TEST_VENV)/bin/python -m pytest -m gpu --require-gpu

# Which small changes of the code does no test notice? A sample of 30; `make mutants MUTANTS="--sample 150 --seed 2"`.
mutants: $(TEST_VENV)/.native
	$(TEST_VENV)/bin/python -m tests.mutants $(MUTANTS)

$(DEMO_VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(DEMO_VENV)
	$(DEMO_VENV)/bin/python $(PIP_INSTALL) ".[cpu]"
	@touch $@

$(DEMO_VENV)/.native: $(DEMO_VENV)/.installed $(NATIVE_FILES)
	$(call build_native,$(DEMO_VENV))

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

$(TEST_VENV)/.native: $(TEST_VENV)/.installed $(NATIVE_FILES)
	$(call build_native,$(TEST_VENV))

clean:
	rm -rf $(DEMO_VENV) $(TEST_VENV) $(LEAN_VENV) demo-output build dist
