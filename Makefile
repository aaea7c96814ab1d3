# Everything a contributor or a stranger needs. Prerequisites: git, make, python3 (3.11+) with venv.
# The targets set up .venv themselves, from hash-checked locks, and need no compiler.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help quickstart serve test test-fast bench lint types looks vendored docs locks changelog build clean proof prove-clauses sights

FILES  ?=
DATA   ?= .serve
PORT   ?= 8120
SCALE  ?= standard
LOOKS  ?= .looks
TESTS  ?= tests
CLAUSES ?=
# One worker more than processors: tests wait for servers, browsers and disks a quarter of their time.
PYTEST ?= -n $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1) --dist loadfile -q

# What strangers run leaves the checkout as it was, but for .venv and what the target says.
quickstart serve: export PYTHONPYCACHEPREFIX := $(CURDIR)/.venv/.cache/pycache

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-12s %s\n", $$1, $$2 }'

quickstart: ## Back FILES up to a local service, restore, compare everything (FILES=path; default: this checkout)
	@scripts/bootstrap server
	@.venv/bin/python -m muniment.main.quickstart $(if $(FILES),--files "$(FILES)")

serve: ## Run the service on loopback (DATA=dir PORT=n)
	@scripts/bootstrap server
	@.venv/bin/muniment serve --data "$(DATA)" --port "$(PORT)"

test: ## Everything CI runs: contracts, lint, types, every test, then those of the database on PostgreSQL
	@scripts/bootstrap dev
	@scripts/need "make test" /usr/bin/chromium:chromium /usr/lib/postgresql:postgresql
	@.venv/bin/python -m pytest $(PYTEST) $(if $(filter tests,$(TESTS)),--hold-clauses) $(TESTS)
	@if [ "$(TESTS)" = tests ]; then .venv/bin/python -m pytest $(PYTEST) -m database --database postgresql $(TESTS); fi

proof: ## Run every test that is marked with a clause and write what they proved, to be committed
	@scripts/bootstrap dev
	@scripts/need "make proof" /usr/bin/chromium:chromium
	@.venv/bin/python -m pytest $(PYTEST) -m clause --hold-clauses --prove src/muniment/server/privacy/proof.json tests

prove-clauses: ## Switch off what enforces each clause, one at a time: its tests must fail (CLAUSES="P7 P48")
	@scripts/bootstrap dev
	@scripts/need "make prove-clauses" /usr/bin/chromium:chromium
	@.venv/bin/python -m tests.support.switch_off $(CLAUSES)

sights: ## Every page and story in a browser, pages in every width and set of colours, not only two of them
	@scripts/bootstrap dev
	@scripts/need "make sights" /usr/bin/chromium:chromium
	@.venv/bin/python -m pytest $(PYTEST) tests/browser --all-sights

test-fast: ## Unit and golden tests only
	@scripts/bootstrap dev
	@.venv/bin/python -m pytest -q tests/unit tests/golden

bench: ## Measure beside restic and borg on the same data (SCALE=large adds a million files and 4 GiB)
	@scripts/bootstrap dev
	@scripts/need "make bench" restic:restic zstd:zstd xz:xz-utils /usr/src/linux-source-6.1.tar.xz:linux-source-6.1 \
	  gcc:gcc pkg-config:pkg-config /usr/include/openssl/ssl.h:libssl-dev /usr/include/sys/acl.h:libacl1-dev \
	  /usr/include/lz4.h:liblz4-dev /usr/include/zstd.h:libzstd-dev /usr/include/xxhash.h:libxxhash-dev \
	  /usr/include/python3.11/Python.h:python3-dev
	@scripts/bootstrap bench .venv-bench
	@.venv/bin/python -m benches --scale "$(SCALE)"

lint: ## Import contracts, ruff, house rules, types, locks: what tests/lint runs, with the tools' own output
	@scripts/bootstrap dev
	@scripts/lint

looks: ## Pictures of every page: three widths, light and dark (LOOKS=dir)
	@scripts/bootstrap dev
	@scripts/need "make looks" /usr/bin/chromium:chromium
	@.venv/bin/python -m tests.browser.looks "$(LOOKS)"

vendored: ## Copy fonts, style sheets and test tools again from the npm packages pinned in requirements/npm
	@scripts/bootstrap dev
	@scripts/need "make vendored" npm:npm
	@npm ci --silent --prefix requirements/npm
	@.venv/bin/python scripts/vendor-web requirements/npm/node_modules

types: ## mypy and basedpyright only
	@scripts/bootstrap dev
	@scripts/lint types

docs: ## Build the documentation into docs/_build
	@scripts/bootstrap docs .venv-docs
	@.venv-docs/bin/sphinx-build -q -W --keep-going -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

locks: ## Compile requirements/*.txt again (existing pins stay; UPGRADE=1 moves them)
	@scripts/bootstrap dev
	@scripts/compile-locks $(if $(UPGRADE),--upgrade)

changelog: ## Show what the next release's notes would say
	@scripts/bootstrap dev
	@.venv/bin/towncrier build --draft --version next

build: ## Build the wheel into dist/
	@scripts/bootstrap dev
	@.venv/bin/python -m hatchling build -t wheel

clean: ## Remove what these targets wrote, environments included
	rm -rf .venv .venv-bench .venv-docs .quickstart .bench docs/_build dist .pytest_cache .mypy_cache .ruff_cache
