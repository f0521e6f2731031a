# What people and CI run. `make demo` and `make test` need Python 3.10-3.12 with pip, and nothing else.
PYTHON ?= python3
# On a network with every registry, the CPU build of torch saves gigabytes:
#   make demo PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu"
PIP_FLAGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo systems test test-slow lint lint-mutations env bench gpu-check clean
.DEFAULT_GOAL := help

help:
	@echo "make demo   build and verify two text systems, serve them, send real texts, measure, stop"
	@echo "make systems   build, verify, serve and ask every system, and print one table (half an hour on two cores)"
	@echo "make test   everything that must pass: lint, types, import contracts, tests on the embedded Triton"
	@echo "make test-slow   the tests that take minutes or gigabytes: real weights, 25 architectures, a graph over 2 GB"
	@echo "make lint   ruff, mypy, the import contracts, and modelyard lint on our own model_repository/"
	@echo "make lint-mutations   thousands of broken configs before modelyard lint and the embedded Triton: they must agree"
	@echo "make bench  the benchmarks, each beside its limit"
	@echo "make gpu-check  what this machine's GPU does through each runtime that is installed"
	@echo "make clean  removes what make made here (caches outside the tree stay)"

env: $(STAMP)

$(STAMP): pyproject.toml constraints.txt scripts/bootstrap.py
	@$(PYTHON) scripts/bootstrap.py --venv $(VENV) -- $(PIP_FLAGS)
	@touch $@

demo: $(STAMP)
	@$(BIN)/modelyard demo

systems: $(STAMP)
	@$(BIN)/modelyard systems

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/mypy
	@$(BIN)/python scripts/lint_docs.py --check
	@$(BIN)/modelyard lint

# Two workers: a test that waits for its server leaves the cores to the other. What measures has the machine to itself.
# The files in the order of collection, the longest first; xdist would put those with the most tests first.
MEASURING := tests/live/test_perf_live.py tests/live/test_serving_overhead.py
test: lint
	@$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder $(MEASURING:%=--ignore=%)
	@$(BIN)/pytest $(MEASURING)

test-slow: $(STAMP)
	@$(BIN)/pytest -m slow

# What was judged before is not judged again: a run that was broken off goes on.
lint-mutations: $(STAMP)
	@PYTHONPATH=tests $(BIN)/python -m support.lint_mutations --out $${TMPDIR:-/tmp}/modelyard_lint_mutations

# All of them, whatever one says; a limit that is missed fails in the end.
bench: $(STAMP)
	@missed=0; for each in serving_overhead "targets text_embedder_encoder" peers systems "streams image_generator" \
		"streams chat" "streams speech" priority "sequences demand_forecaster_daily" "sequences speech_vad" \
		"cards resnet50_b32" "cards bert_base_128_b32" lint; do \
		set -- $$each; echo "== $$each"; $(BIN)/python benchmarks/$$1.py $$2 || missed=1; done; exit $$missed

gpu-check: $(STAMP)
	@$(BIN)/python scripts/gpu_check.py

clean:
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
