# Two commands do everything on a fresh machine with python3, make and a C compiler: `make sweep`, `make test`.
PYTHON  ?= python3
VENV    ?= .venv
SWEEP   ?= sweeps/recall_pareto.yaml
CONFIG  ?= lra/listops_short
WORKERS ?= 2
JOBS    ?= 2
DEVICES ?= 2
PORT    ?= 6006
STUDY   ?= runs/sweeps/$(basename $(notdir $(SWEEP)))/study.journal
Q       ?= learning
ARGS    ?=

BIN     := $(VENV)/bin
SEQBOAT := $(BIN)/seqboat
MKDOCS  := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs
LOCKING := pip compile -q --universal --python-version 3.11 --generate-hashes --group dev pyproject.toml

.DEFAULT_GOAL := help
.PHONY: help setup sweep test test-slow test-slurm test-gpu test-postgresql fit tensorboard dashboard ddp notebooks docs docs-serve lint format lock bench bench-search answer answers answer-pages gpu-report clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "Variables: SWEEP=$(SWEEP) CONFIG=$(CONFIG) WORKERS=$(WORKERS) DEVICES=$(DEVICES) ARGS='key=value ...'"

setup: $(VENV)/.ready  ## build .venv with the pinned versions (the other targets do it when needed)

$(VENV)/.ready: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "seqboat_lab needs Python 3.11 or newer; try make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q uv
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip sync -q --require-hashes --compile-bytecode requirements.lock
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install -q --no-deps --no-build-isolation -e .
	touch $@

sweep: setup  ## search activation rate, memory size, temperature and SSM kernel, to a Pareto front (SWEEP=, WORKERS=)
	$(SEQBOAT) sweep $(SWEEP) --workers $(WORKERS) $(ARGS)

test: setup  ## the test suite, under 10 minutes on two cores (JOBS=2 processes)
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

test-slow: setup  ## the tests that take minutes
	$(BIN)/python -m pytest -m slow $(ARGS)

test-slurm: setup  ## the tests on a Slurm cluster that they start on this machine (apt-get install slurmctld slurmd slurm-client munge)
	$(BIN)/python -m pytest -m slurm $(ARGS)

test-gpu: setup  ## the tests that need a CUDA device
	$(BIN)/python -m pytest -m gpu $(ARGS)

test-postgresql: setup  ## the tests that start a PostgreSQL of their own (Debian: apt install postgresql)
	$(BIN)/python -m pytest -m postgresql $(ARGS)

fit: setup  ## train one experiment (CONFIG=, ARGS='key=value ...')
	$(SEQBOAT) fit $(CONFIG) $(ARGS)

tensorboard: setup  ## curves, rasters and sweeps of everything under runs/ (PORT=6006)
	$(BIN)/tensorboard --logdir runs --port $(PORT)

dashboard: setup  ## the study of a sweep, live, in optuna-dashboard (SWEEP= or STUDY=, PORT=6006)
	@case "$(STUDY)" in *://*) ;; *) test -f "$(STUDY)" || { echo "no study $(STUDY); run make sweep, or give STUDY=runs/sweeps/NAME/study.journal or the URL of a database" >&2; exit 2; };; esac
	$(BIN)/optuna-dashboard "$(STUDY)" --port $(PORT)

ddp: setup  ## train with DEVICES processes: GPUs where there are some, else CPU over gloo
	$(SEQBOAT) fit $(CONFIG) trainer.devices=$(DEVICES) $(ARGS)

notebooks: setup  ## run the notebooks on the newest sweep and write them as HTML under runs/notebooks
	$(BIN)/jupyter nbconvert --to html --execute --output-dir runs/notebooks notebooks/*.ipynb

docs: setup  ## build the site into build/site, strict: a broken link fails
	@out=$$($(MKDOCS) build --strict --site-dir build/site 2>&1) || { echo "$$out"; exit 1; }
	@echo "wrote build/site/index.html"

docs-serve: setup  ## the site on port 8000, rebuilt as its sources change
	$(MKDOCS) serve

lint: setup  ## style, format (ruff), types (mypy), imports that go up (import-linter), links of the docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@out=$$($(BIN)/lint-imports --no-logo) || { echo "$$out"; exit 1; }
	@out=$$($(MKDOCS) build --strict --site-dir build/site 2>&1) || { echo "$$out"; exit 1; }

format: setup  ## let ruff rewrite what lint would refuse
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: setup  ## pin today's newest versions into requirements.lock
	$(BIN)/uv $(LOCKING) --upgrade -o requirements.lock > /dev/null

bench-search: setup  ## replay searches from a table of runs: every sampler and stopping rule (ARGS=)
	$(BIN)/python -m benchmarks.search $(ARGS)

bench: setup  ## measure the layer beside the textbook, a transformer and the machine's limit
	$(SEQBOAT) bench $(ARGS)

answer: setup  ## one question: its sweeps, and its page in docs/answers (Q=learning memory temperature kernels scaling modalities ..., WORKERS=)
	$(BIN)/python -m benchmarks.answers run $(Q) --workers $(WORKERS) $(ARGS)

answers: setup  ## all questions, one after the other
	$(BIN)/python -m benchmarks.answers.web_pages
	$(BIN)/python -m benchmarks.answers run all --workers $(WORKERS) $(ARGS)

answer-pages: setup  ## only write the questions' pages and docs/results.md anew, from the results in docs/answers
	$(BIN)/python -m benchmarks.answers pages all

gpu-report: setup  ## on a machine with GPUs: its tests, bench, 1 to 8 devices, every recipe, as runs/gpu_report.md
	$(BIN)/python -m benchmarks.gpu_report $(ARGS)

clean:  ## remove the environment and caches; runs/ and data/ stay
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
	find seqboat_lab tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
