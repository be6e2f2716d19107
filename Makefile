# Everything sets itself up: `make demo` and `make test` need only Python 3.11+ with venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install -q

.PHONY: demo test test-qemu test-qemu-small test-aarch64 prove bench lint clean
demo: $(VENV)/.installed
	$(BIN)/hil demo

test: $(VENV)/.test
	$(BIN)/flightnode warm-up
	$(BIN)/python -m pytest -n 2 --dist loadgroup --durations=15

prove: $(VENV)/.test
	FLIGHTNODE_PROVE=1 $(BIN)/python -m pytest -n 2 --dist loadgroup -m proof --timeout 7200

# The emulated board: Debian for arm64 under QEMU. The first build compiles the node's kernels for it, for some minutes.
QEMU_PACKAGES := qemu-system-arm qemu-user-static e2fsprogs
QEMU_HERE := command -v qemu-system-aarch64 >/dev/null && command -v qemu-aarch64-static >/dev/null && command -v mke2fs >/dev/null
GET_QEMU := { $(QEMU_HERE); } || { [ "$$(id -u)" = 0 ] && apt-get update -qq && \
	apt-get install -y -qq --no-install-recommends $(QEMU_PACKAGES) >/dev/null; }
test-qemu: $(VENV)/.test
	@$(GET_QEMU) || { echo "test-qemu needs QEMU: apt-get install $(QEMU_PACKAGES)" >&2; exit 2; }
	$(BIN)/hil board build-qemu
	FLIGHTNODE_QEMU=1 $(BIN)/python -m pytest tests/qemu -m qemu --durations=0
	$(BIN)/python -m pytest tests/conformance/test_targets.py --board qemu -k real_board --timeout 900 --durations=0

# The same with the kernels that most models need and half of the tests: what CI has time for.
test-qemu-small: $(VENV)/.test
	@$(GET_QEMU) || { echo "skipped: no emulated board without QEMU: apt-get install $(QEMU_PACKAGES)"; exit 0; }; \
	$(BIN)/hil board build-qemu --download || \
		{ echo "skipped: no emulated board without Debian's packages for arm64 and wheels for aarch64"; exit 0; }; \
	$(BIN)/hil board build-qemu --usual && \
	FLIGHTNODE_QEMU=1 $(BIN)/python -m pytest tests/qemu/test_board.py -m qemu -k "scales or power" --durations=0

# The board's software under QEMU's emulation of single programs, against what this processor computes.
test-aarch64: $(VENV)/.test
	@command -v qemu-aarch64-static >/dev/null || \
		{ [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq --no-install-recommends qemu-user-static; } || \
		{ echo "test-aarch64 needs QEMU: apt-get install qemu-user-static" >&2; exit 2; }
	$(BIN)/hil board build-aarch64
	FLIGHTNODE_QEMU=1 $(BIN)/python -m pytest tests/qemu/test_aarch64.py -n 2 --durations=0

bench: $(VENV)/.test
	$(BIN)/python -m benchmarks

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) build dist *.egg-info

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("flightnode needs Python 3.11 or newer: set PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(PIP) -e .
	touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/bin/python
	$(PIP) -e '.[test]'
	touch $@ $(VENV)/.installed

$(VENV)/.lint: pyproject.toml | $(VENV)/bin/python
	$(PIP) -e '.[test,lint]'
	touch $@ $(VENV)/.test $(VENV)/.installed
