# `make demo` and `make test` do all the set-up they need. Outside the virtual environment they install MariaDB's
# programs only, where they may.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.lagless-ready
MARIADB = mariadb-server-core mariadb-client-core
AS_ROOT = $$(test $$(id -u) = 0 || echo sudo -n) env DEBIAN_FRONTEND=noninteractive

.PHONY: setup servers demo test lint bench clean

setup: servers $(READY)

# MariaDB's programs; these packages start no service.
servers:
	@PATH="$$PATH:/usr/sbin:$${LAGLESS_MARIADB_BINDIR:-/usr/sbin}"; command -v mariadbd >/dev/null || \
	    { $(AS_ROOT) apt-get update -qq && \
	      $(AS_ROOT) apt-get install -qq -y --no-install-recommends $(MARIADB); } >/dev/null || \
	    echo "MariaDB could not be installed: what needs it is skipped. By hand: apt-get install $(MARIADB)"

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@

demo: servers $(READY)
	$(BIN)/lagless demo $(ARGS)

test: servers lint
	$(BIN)/python -m pytest tests/unit tests/scenarios -q
	$(BIN)/python -m pytest tests/properties tests/integration tests/chaos -q $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[bench]"
	$(BIN)/python -m bench $(ARGS)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
