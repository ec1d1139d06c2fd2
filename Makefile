# Every target does the set-up it needs, on a machine with make and python3 (3.11 or later). `make help` lists them.

PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=

RUN := "$(VENV)/bin/python" -m
PIP := $(RUN) pip install --quiet --disable-pip-version-check --constraint constraints.txt

SAY_ENGINE := "$(VENV)/bin/python" -c 'from bertsmith.kernels.library import engine; print("this machine computes with:", engine().reason)'

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: quickstart test cluster-tests bench proof sanitize lint types check clean help

quickstart: $(VENV)/core.stamp ## text -> vocabulary -> pre-trained BERT -> classifier -> report; under 10 minutes
	$(RUN) bertsmith quickstart $(ARGS)

test: $(VENV)/full.stamp ## run the tests (ARGS="-k tokenizer" for some of them)
	OMP_NUM_THREADS=1 $(RUN) pytest -n auto --maxprocesses 4 --dist loadfile -m "not ray" $(ARGS)

cluster-tests: $(VENV)/cluster.stamp ## the tests on Ray clusters of two nodes, in which workers and nodes are killed
	OMP_NUM_THREADS=1 $(RUN) pytest -m ray tests/scale tests/recipes $(ARGS)

lint: $(VENV)/full.stamp ## style and formatting (ruff)
	$(RUN) ruff check .
	$(RUN) ruff format --check .

types: $(VENV)/full.stamp ## types of the package (mypy, strict)
	$(RUN) mypy

bench: $(VENV)/bench.stamp ## speed beside the peers, an hour or two on a quiet machine: docs/performance.md
	"$(VENV)/bin/python" benchmarks/speed.py $(ARGS)

proof: $(VENV)/full.stamp ## kill a training run everywhere and compare where it goes on to: docs/reliability.md
	OMP_NUM_THREADS=1 "$(VENV)/bin/python" benchmarks/proof.py $(ARGS)
	OMP_NUM_THREADS=1 "$(VENV)/bin/python" benchmarks/proof_processes.py $(if $(ARGS),--every 6)

sanitize: $(VENV)/full.stamp ## the kernels' tests with the address and undefined-behaviour sanitizers
	$(RUN) bertsmith.kernels.build --sanitize build/_native_sanitized.so
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1 \
		BERTSMITH_KERNELS_LIBRARY=build/_native_sanitized.so OMP_NUM_THREADS=2 $(RUN) pytest -q --hypothesis-profile few tests/kernels

check: lint types test ## all of the three above

clean: ## remove the environment and what was built; your runs stay
	rm -rf "$(VENV)" build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile
	@echo '  variables   PYTHON=$(PYTHON) VENV=$(VENV) ARGS=$(ARGS)'

# The two stamps say which packages the environment holds, for which pyproject.toml and constraints.txt, and with which kernels.
BUILT := pyproject.toml constraints.txt hatch_build.py src/bertsmith/kernels/build.py $(wildcard src/bertsmith/kernels/native/*)

$(VENV)/core.stamp: $(VENV)/bin/python $(BUILT)
	@echo 'installing bertsmith into $(VENV); the first time, this fetches PyTorch'
	$(PIP) --editable .
	@$(SAY_ENGINE)
	@touch "$@"

$(VENV)/full.stamp: $(VENV)/bin/python $(BUILT)
	@echo 'installing bertsmith with its extras into $(VENV); the first time, this fetches PyTorch'
	$(PIP) --editable '.[peers,sweep,serve,search,qdrant,seq2seq,chinese,dev]'
	@$(SAY_ENGINE)
	@touch "$(VENV)/core.stamp" "$@"

$(VENV)/bench.stamp: $(VENV)/full.stamp
	$(PIP) --editable '.[peers,sweep,serve,search,qdrant,seq2seq,chinese,dev,bench]'
	@touch "$@"

$(VENV)/cluster.stamp: $(VENV)/full.stamp
	$(PIP) --editable '.[peers,sweep,serve,search,qdrant,seq2seq,chinese,dev,cluster]'
	@touch "$@"

$(VENV)/bin/python:
	@command -v "$(PYTHON)" >/dev/null || { echo "make: no $(PYTHON) here; install Python 3.11 or later, or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $$("$(PYTHON)" --version) is too old; bertsmith needs 3.11 or later, for example: make PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "make: $(PYTHON) cannot make environments; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	"$(PYTHON)" -m venv "$(VENV)"
