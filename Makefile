# `make help` lists the commands.

PYTHON ?= python3
PORT ?= 8000
DATA ?= .data
VENV := .venv
BIN := $(VENV)/bin
# Where setpriv is there (util-linux), a killed make takes what it started along.
WITH_MAKE := $(if $(shell command -v setpriv),setpriv --pdeathsig TERM)

.DEFAULT_GOAL := help
.PHONY: help run demo clean test lint types format lock openapi bench

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ── Run ─────────────────────────────────────────────────────────────────────────────────────────
run: $(VENV)/.run ## start everything here; PORT=8000 DATA=.data SANDBOXES=2 RELOAD=1
	@exec $(WITH_MAKE) $(BIN)/python -m local --port "$(PORT)" --data "$(DATA)" \
		$(if $(SANDBOXES),--sandboxes "$(SANDBOXES)") $(if $(RELOAD),--reload)

demo: $(VENV)/.run ## walk through the workflow against a running `make run`; PORT=8000
	@$(BIN)/python -m local.demo --port "$(PORT)"

clean: ## remove the data of `make run`, and nothing else; DATA=.data
	@if [ -f "$(DATA)/lock" ] && command -v flock >/dev/null && ! flock -n "$(DATA)/lock" true; then \
		echo "make run still uses $(DATA): stop it first"; exit 1; fi
	@cd "$(DATA)" 2>/dev/null || exit 0; \
		rm -rf postgres postgres.new postgres.log redis redis.log sockets logs lock
	@rmdir "$(DATA)" 2>/dev/null || true
	@echo "removed the data in $(DATA)"

# ── Check ───────────────────────────────────────────────────────────────────────────────────────
test: $(VENV)/.dev ## run all tests; ARGS='-k tools' for some
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.dev ## check style and form
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev ## check types
	$(BIN)/mypy

format: $(VENV)/.dev ## put the code into form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev ## measure it, as docs/performance.md shows
	$(BIN)/python -m local.bench

# ── Made files ──────────────────────────────────────────────────────────────────────────────────
openapi: $(VENV)/.dev ## write functions/system/openapi.json anew
	PYTHONPATH=.:layers/shared $(BIN)/python -m local.openapi

LOCK = $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-strip-extras pyproject.toml

lock: $(VENV)/.dev ## lock the dependencies of pyproject.toml anew
	$(LOCK) --group dev -o requirements/dev.txt
	$(LOCK) --group local -c requirements/dev.txt -o requirements/run.txt
	$(LOCK) -c requirements/dev.txt -o layers/dependencies/requirements.txt

# ── What commands need ──────────────────────────────────────────────────────────────────────────
$(VENV)/.run $(VENV)/.dev: $(VENV)/.%: requirements/%.txt
	@command -v "$(PYTHON)" >/dev/null || { \
		echo "$(PYTHON) is missing: install Python 3.11 or later, or name it with PYTHON=..."; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or later is needed: name it with PYTHON=..."; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "Python's venv module is missing: apt install python3-venv"; exit 1; }
	@echo "Installing $< into $(VENV), this once ..."
	@[ -x $(BIN)/python ] || "$(PYTHON)" -m venv $(VENV)
	@$(BIN)/python -m pip install --disable-pip-version-check --no-deps --require-hashes -r $<
	@touch $@
