# Everything starts here; `make help` lists it. Needs Python 3.11 to 3.13 with venv, make, and a package index.

VENV := .venv
PYTHON_IN := $(VENV)/bin/python

# Not relative: processes that tests start elsewhere are measured too.
export COVERAGE_FILE := $(CURDIR)/.coverage

.DEFAULT_GOAL := help
.PHONY: help setup run test test-nightly test-post-office bench check lock messages format clean

help: ## List these commands
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | while IFS="$$(printf '\t')" read -r name text; do \
		printf '  make %-16s %s\n' "$$name" "$$text"; done

setup: $(VENV)/.installed ## Make .venv with everything from requirements.lock (PYTHON=... chooses the interpreter)
	@:

$(VENV)/.installed: requirements.lock .ci/make_venv
	@.ci/make_venv $(VENV) $(PYTHON)

run: setup ## Start the site, the sender and an inbox; Ctrl-C ends all of it
	@$(PYTHON_IN) -m project.dev.run

test: setup ## Run all tests (ARGS="-k name" for some; COVERAGE=1 keeps what was covered)
	$(if $(COVERAGE),$(PYTHON_IN) -m coverage erase)
	@RUNNER="$(PYTHON_IN) $(if $(COVERAGE),-m coverage run)" .ci/test $(ARGS)

test-nightly: setup ## Run the large sizes of tests (kills, restarts, the life of a mail): about half an hour
	@$(PYTHON_IN) -m pytest -m nightly -o log_cli=true -o log_cli_level=INFO $(ARGS)

test-post-office: setup ## Run the tests that django-post-office brings, with mailqueue in front of it
	@$(PYTHON_IN) .ci/test_post_office.py

bench: .venvs/bench/.installed ## Measure mailqueue beside its peers (ARGS="--small", "drain latency", "--runs 1"; see docs)
	@.venvs/bench/bin/python -m bench $(ARGS)

.venvs/bench/.installed: requirements.lock bench/requirements.lock .ci/make_venv
	@.ci/make_venv .venvs/bench "$(PYTHON)" bench/requirements.lock

check: setup ## Run all checks, with the tests on both pairs of Python and Django: what CI runs
	@.ci/check

lock: setup ## Remake the lock files from pyproject.toml and bench/requirements.in (ARGS="--upgrade" for newer versions)
	@$(VENV)/bin/uv pip compile pyproject.toml --universal --python-version 3.11 --all-extras --generate-hashes \
		--no-annotate --custom-compile-command "make lock" --output-file requirements.lock --quiet $(ARGS)
	@$(VENV)/bin/uv pip compile bench/requirements.in --universal --python-version 3.11 --generate-hashes \
		--no-annotate --custom-compile-command "make lock" --output-file bench/requirements.lock --quiet $(ARGS)

messages: setup ## Collect the texts that people see, and compile their translations (needs GNU gettext)
	@.ci/messages

format: setup ## Format the code, and mend what ruff can mend
	$(VENV)/bin/ruff check --fix-only --quiet
	$(VENV)/bin/ruff format

clean: ## Remove what these commands made; data of development (.postgres, .inbox, .state, media) stays
	rm -rf $(VENV) .venvs build dist staticfiles .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache \
		tests/apps/.pytest_cache .import_linter_cache .hypothesis
	find mailqueue project bench tests -name __pycache__ -type d -prune -exec rm -rf {} +
