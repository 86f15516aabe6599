# The same commands for people and for CI. `make help` lists them.

PROFILE ?= dev
BIN     := .venv/bin
LOCK    := requirements-dev.lock

# Cargo and maturin must agree on the interpreter, or each builds PyO3 anew for the other.
export PYO3_PYTHON := $(CURDIR)/$(BIN)/python
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# maturin installs what procq itself depends on: held to the lock by the constraint.
develop = env -u CONDA_PREFIX VIRTUAL_ENV=$(CURDIR)/.venv PIP_CONSTRAINT=$(LOCK) PIP_QUIET=1 \
          $(BIN)/maturin develop --locked --profile

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test checks build lint fmt bench soak lock clean tools

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' Makefile

demo: tools .venv/.demo  ## build, then run examples/quickstart in a scratch folder
	@echo "building the extension (the first time takes a minute or two) …"
	@$(develop) dev
	@exec scripts/demo

test: PROFILE = release
test: build checks  ## build for release, then every check that CI runs

# Cheapest failures first; pytest last, so that its verdict closes the output.
checks: lint
	cargo test --locked --package procq-core
	$(BIN)/python benches/run.py --gate
	$(BIN)/pytest

build: tools .venv/.dev  ## build into .venv, with the development tools (PROFILE=release for a fast procq)
	$(develop) $(PROFILE)

lint: build  ## formatting, clippy, ruff, mypy, import layers, stubs
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/stubtest procq._core

fmt: .venv/.dev  ## format everything, and mend what ruff can mend
	cargo fmt --all
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

bench: PROFILE = release
bench: build  ## time procq beside a bare spawn loop, print ratios (BENCH=name for one)
	$(BIN)/python benches/run.py $(BENCH)

soak: PROFILE = release
soak: build  ## the long trials: hundreds of kills, 100,000 spawns
	$(BIN)/pytest tests/soak -m soak --timeout 0

lock: tools  ## write requirements-dev.lock anew from pyproject.toml
	scripts/lock $(LOCK)

clean:  ## remove everything that was built
	rm -rf .venv target dist python/procq/*.so .*_cache .hypothesis .benchmarks
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

tools:
	@scripts/prerequisites > /dev/null

# The environment comes in two sizes; the demo's is ready sooner. The stamps are older than the lock when it has changed.
.venv/.demo: $(LOCK) examples/quickstart/requirements.txt | tools
	@python=$$(scripts/prerequisites) && echo "preparing .venv with $$python …" && "$$python" -m venv .venv
	@$(BIN)/pip install --quiet --constraint $(LOCK) maturin --requirement examples/quickstart/requirements.txt
	@touch $@

.venv/.dev: .venv/.demo
	@scripts/prerequisites --dev > /dev/null
	$(BIN)/pip install --quiet --requirement $(LOCK)
	@touch $@
