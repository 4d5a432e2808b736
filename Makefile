# `make` alone prints this help. Every target does its own set-up.
# The distribution's Python before another: it is built with profile-guided optimisation, and a call costs a quarter less on it
# than on one built plainly (bench/README.md).
PYTHON ?= $(shell for p in /usr/bin/python3 python3; do $$p -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.DEFAULT_GOAL := help
.PHONY: help setup run test check conformance matrix bench audit proto policy clean

help: ## Print this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | awk -F'\t' '{printf "  make %-11s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml constraints.txt
	@echo "setting up $(VENV): a minute or two, once"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@

setup: $(STAMP) ## Make .venv with everything Toolgate and its tests need

run: $(STAMP) ## Run both planes and the demo on this machine, and print where to connect
	@bash tests/setup.sh beside || true
	$(BIN)/toolgate up $(ARGS)

check: $(STAMP) ## Lint, types, import contracts and the pure tests: under a minute
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/core

test: $(STAMP) ## All tests, against real servers; installs those it lacks
	bash tests/setup.sh
	@# Two at a time a machine may be too busy for somebody's deadline: what failed is run again alone, and fails if it fails there.
	$(BIN)/pytest -n 2 --dist loadfile $(ARGS) || $(BIN)/pytest --last-failed --last-failed-no-failures=none $(ARGS)

conformance: $(STAMP) ## The official MCP suite: gateways before a fixture, and their way to servers
	bash tests/setup.sh conformance opa redis
	$(BIN)/python -m tests.conformance.runner $(ARGS)

matrix: $(STAMP) ## Every revision and transport of client and server through a gateway
	bash tests/setup.sh opa
	$(BIN)/python -m tests.matrix.runner $(ARGS)

bench: $(STAMP) ## Measure speed and memory; figures and commands are in bench/README.md
	bash bench/run.sh $(ARGS)

audit: $(STAMP) ## Known vulnerabilities of what is pinned; says so where nobody can be asked
	@bash tests/audit.sh

proto: $(STAMP) ## Regenerate the protobuf code in toolgate/
	$(BIN)/python -m tests.harness.protoc .

policy: $(STAMP) ## Recompile the shipped policy to WASM
	bash tests/setup.sh opa
	$(BIN)/python -m control_plane.policies.build

clean: ## Remove everything that can be made again; data/ stays
	rm -rf $(VENV) .tools .cache build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache tests/clients/node_modules tests/conformance/node_modules
