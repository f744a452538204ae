# Every target works on a machine with Python 3.11+, make and git. `make` alone lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# Without a notice of the theme's authors, and a warning that advanced-alchemy causes.
MKDOCS := NO_MKDOCS_2_WARNING=1 PYTHONWARNINGS='ignore:The declarative_mixin decorator' PYTHONPATH=. $(BIN)/mkdocs

.DEFAULT_GOAL := help
.PHONY: help install run dev migrate migration test test-slow test-faults test-fuzz test-cluster cluster test-clients test-browser screenshots coverage bench bench-large bench-long bench-pooler bench-replicas bench-search check format settings docs docs-serve lock wheel release clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## create the virtual environment with the locked packages

$(STAMP): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'Kitsu needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 …' >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo 'Python could not make a virtual environment (on Debian and Ubuntu: apt install python3-venv).' >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.env: | $(STAMP)
	@umask 077 && sed "s/^SECRET_KEY=.*/SECRET_KEY=$$($(BIN)/python -c 'import secrets; print(secrets.token_hex(32))')/" .env.example > $@.new && mv $@.new $@
	@echo 'Wrote .env with a new SECRET_KEY.'

run: $(STAMP) .env ## serve on HOST:PORT; install and prepare what is missing
	@exec $(BIN)/kitsu run

dev: $(STAMP) .env ## make run that restarts the workers when a file changes
	@exec $(BIN)/kitsu run --reload

migrate: $(STAMP) .env ## migrate the database to the schema of this version
	@exec $(BIN)/kitsu migrate

migration: $(STAMP) .env ## write a new revision from the models: make migration m="add ratings"
	@test -n "$(m)" || { echo 'Describe the revision: make migration m="add ratings"' >&2; exit 2; }
	@exec $(BIN)/kitsu makemigration "$(m)"

test: $(STAMP) ## run all tests
	$(BIN)/python -m pytest --numprocesses 3 --dist worksteal $(ARGS)

test-slow: $(STAMP) ## run the tests that take minutes: two workers, timing, backups
	$(BIN)/python -m pytest -m slow $(ARGS)

test-faults: $(STAMP) ## stop, freeze, kill and overload the service and its database, and print the outcome
	$(BIN)/python -m pytest -m faults --capture=no $(ARGS)

test-fuzz: $(STAMP) ## send generated requests to each operation: make test-fuzz EXAMPLES=200
	KITSU_FUZZ_EXAMPLES=$(or $(EXAMPLES),50) $(BIN)/python -m pytest -m fuzz --numprocesses 3 $(ARGS)

test-cluster: $(STAMP) .local/patroni ## use the service behind PgBouncer, with a standby, and as three instances (needs pgbouncer, caddy, nginx)
	@for program in pgbouncer caddy nginx; do PATH="$$PATH:/usr/sbin" command -v $$program >/dev/null || { echo "The tests need $$program (Debian: apt install $$program)." >&2; exit 1; }; done
	$(BIN)/python -m pytest -m cluster $(ARGS)
	KITSU_POOLER=1 $(BIN)/python -m pytest --numprocesses 3 --dist worksteal tests/controllers tests/web tests/mail tests/oidc

.local/patroni: requirements-cluster.lock
	@$(PYTHON) -m venv $@
	$@/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-cluster.lock
	@touch $@

cluster: $(STAMP) .local/patroni ## run two PostgreSQL servers with Patroni and etcd (Debian: etcd-server) until Ctrl-C
	@$(BIN)/python -m tests.cluster.patroni

test-clients: $(STAMP) ## generate clients in Python and TypeScript and play them against the service (needs Node.js)
	@command -v npm >/dev/null || { echo 'The clients need Node.js 20 or newer with npm (Debian: apt install nodejs npm).' >&2; exit 1; }
	$(BIN)/python -m pytest -m clients $(ARGS)

test-browser: $(STAMP) ## use the admin site and /docs in Chromium, and write screenshots to .local/screenshots
	$(BIN)/python -m pytest -m browser $(ARGS)

screenshots: test-browser ## write the screenshots of the documentation to docs/images
	$(BIN)/python -m scripts.docs_screenshots

coverage: $(STAMP) ## run all tests and list the uncovered lines
	$(BIN)/python -m pytest --numprocesses 4 --dist worksteal --cov --cov-report=term $(ARGS)

bench: $(STAMP) ## compare the service with bare handlers (needs wrk); write tests/bench/RESULTS.md
	@command -v wrk >/dev/null || { echo 'The benchmark needs wrk (Debian: apt install wrk).' >&2; exit 1; }
	$(BIN)/python -m tests.bench

bench-long: $(STAMP) ## measure a million anime and a million requests (wrk, 20 minutes); write tests/bench/RESULTS-LONG.md
	@command -v wrk >/dev/null || { echo 'The benchmark needs wrk (Debian: apt install wrk).' >&2; exit 1; }
	$(BIN)/python -m tests.bench.long

bench-large: $(STAMP) ## measure 20 million rows of progress and 50 million plays (half an hour, 40 GB); write tests/bench/RESULTS-LARGE.md
	$(BIN)/python -m tests.bench.large

bench-pooler: $(STAMP) ## measure what PgBouncer in transaction mode costs (wrk, pgbouncer); write tests/bench/RESULTS-POOLER.md
	@command -v wrk >/dev/null || { echo 'The benchmark needs wrk (Debian: apt install wrk).' >&2; exit 1; }
	$(BIN)/python -m tests.bench.pooler

bench-replicas: $(STAMP) ## measure reads with one and two replicas, and how late they are (wrk, root); write tests/bench/RESULTS-REPLICAS.md
	@command -v wrk >/dev/null || { echo 'The benchmark needs wrk (Debian: apt install wrk).' >&2; exit 1; }
	$(BIN)/python -m tests.bench.replicas

bench-search: $(STAMP) ## measure what searches find, and how fast, with ../shared/data; write tests/bench/RESULTS-SEARCH.md
	$(BIN)/python -m tests.bench.search

check: $(STAMP) ## check format, lint rules, types and wording; changes no file
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m scripts.wording

format: $(STAMP) ## format the code and apply lint fixes
	$(BIN)/ruff check --fix --exit-zero --silent .
	$(BIN)/ruff format .
	$(BIN)/ruff check .

settings: $(STAMP) ## write .env.example and the table of docs/settings.md from the declared settings
	$(BIN)/python -m scripts.settings_documentation

docs: $(STAMP) ## build the documentation into site/; a broken link is an error
	$(MKDOCS) build --strict

docs-serve: $(STAMP) ## serve the documentation on 127.0.0.1:8001 and rebuild it on changes
	$(MKDOCS) serve --dev-addr 127.0.0.1:8001

lock: $(STAMP) ## update the locked versions
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-strip-extras --upgrade pyproject.toml --output-file requirements.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-strip-extras --upgrade pyproject.toml --extra otel --constraint requirements.lock --output-file requirements-otel.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-strip-extras --upgrade pyproject.toml --extra embedded --extra otel --group dev --constraint requirements-otel.lock --output-file requirements-dev.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-strip-extras --upgrade --group cluster --output-file requirements-cluster.lock

wheel: $(STAMP) ## build the wheel into dist/
	$(BIN)/uv build --quiet --wheel --no-build-isolation --out-dir dist

release: $(STAMP) ## check version, changelog and lock files, then build wheel and sdist into dist/
	$(BIN)/python -m scripts.release

clean: ## remove the virtual environment and the files of tools; data in .local/ stays
	rm -rf $(VENV) dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage
