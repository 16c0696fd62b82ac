# Everything below works from a fresh clone with python3 (3.11 or newer) and make.
# Another interpreter: make PYTHON=python3.12 demo

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.setup-done
PIP := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt
NOW := $(shell date +%Y%m%d-%H%M%S)
DEMO_DATA := data/chitchat-small

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv setup demo check format test test-slow test-nightly coverage smoke browser clean

help:
	@echo "make setup         install everything into .venv (the other targets do it too)"
	@echo "make demo          reply selection: SFT, then PPO, on real dialogues"
	@echo "make check         format, lint, types, layers, spelling"
	@echo "make test          the tests, minutes"
	@echo "make test-slow     kills, learning runs, mutations: longer"
	@echo "make test-nightly  hours"
	@echo "make coverage      the tests, and which lines they leave out"
	@echo "make smoke         two tiny runs, SFT and PPO, a minute"
	@echo "make browser       Debian's chromium, for the tests of the Policy tab (as root)"
	@echo "make format        let ruff rewrite the files"
	@echo "make clean         remove .venv and caches; runs/ and data/ stay"

venv setup: $(STAMP)

# torch first and pinned: a plain `torch` on Linux may bring gigabytes of GPU libraries. For a
# build without them, set PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS to a place that serves one.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else f"Python 3.11 or newer is needed, $(PYTHON) is {v[0]}.{v[1]}; try make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(PIP) torch==2.13.0
	$(PIP) -e ".[dev]"
	@touch $@

# The manifest is written last, so a build that was stopped is done again.
$(DEMO_DATA)/manifest.json: | $(STAMP)
	$(BIN)/python -m strategy_rl_envs.reply_selection.build --small --out $(@D)

# Its last line is the command that opens TensorBoard on the run.
demo: $(STAMP) $(DEMO_DATA)/manifest.json
	$(BIN)/strategy-rl run experiments/reply_selection/demo.yaml --out runs/demo-$(NOW)

# Does nothing where there is one; the lists of packages may be missing or old, hence two tries.
# Without a browser its tests are skipped, and say so.
browser: export DEBIAN_FRONTEND = noninteractive
browser: APT = timeout --foreground 600 apt-get -y -o Acquire::Retries=2 -o DPkg::Lock::Timeout=60
browser: INSTALL = $(APT) install --no-install-recommends chromium chromium-driver fonts-noto-cjk
browser:
	@{ command -v chromium || command -v google-chrome; } && command -v chromedriver \
		|| $(INSTALL) </dev/null || { $(APT) update </dev/null && $(INSTALL) </dev/null; }

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# One thread a process: two workers share the machine, and more threads would only contend.
test test-slow test-nightly coverage smoke: export OMP_NUM_THREADS = 1

test: $(STAMP)
	$(BIN)/pytest -n 2 -m "not slow and not nightly"

test-slow: $(STAMP)
	$(BIN)/pytest -n 2 -m "slow and not nightly"

test-nightly: $(STAMP)
	$(BIN)/pytest -n 2 -m nightly

coverage: $(STAMP)
	$(BIN)/pytest -n 2 -m "not slow and not nightly" --cov --cov-report=term-missing:skip-covered

smoke: $(STAMP)
	$(BIN)/strategy-rl run experiments/smoke.yaml --out runs/smoke-$(NOW)
	$(BIN)/strategy-rl run experiments/smoke_text.yaml --out runs/smoke-text-$(NOW)

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	rm -rf build dist .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
