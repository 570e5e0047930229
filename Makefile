# Thin over .venv/bin/holdfast; `make help` lists what there is.
NAME ?= local
export NAME
# Ansible wants UTF-8, and a forwarded locale may not exist on this machine.
export LC_ALL := C.UTF-8
SCENARIOS = $(patsubst roles/%/molecule,molecule-%,$(wildcard roles/*/molecule))
# What needs no Vault runs while Vault is built, where it cannot be fetched: that takes ten minutes.
EARLY = $(addprefix molecule-,base egress_proxy firewall hardening ssh)
# The longest first.
LATE = test-e2e test-integration $(filter-out $(EARLY),$(SCENARIOS))
# Seconds for one test: one that hangs must not hang the rest.
PYTEST = .venv/bin/pytest --timeout=1800
HOLDFAST = .venv/bin/holdfast --name $(NAME)

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev up down destroy audit test test-unit test-live test-e2e test-integration programs lint format bench lock advisories

help: ## this list
	@awk -F':.*## ' '/^[a-z%-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Debian packages and .venv, as `make up` needs them
	@./bootstrap.sh holdfast

setup-dev: ## the same, with what the tests and linters need
	@./bootstrap.sh dev

up: setup ## start, configure and audit the installation NAME (default: local)
	@$(HOLDFAST) up

down: setup ## stop its hosts; their data stay
	@$(HOLDFAST) down

destroy: setup ## remove its hosts, data and keys
	@$(HOLDFAST) destroy

audit: setup ## audit the live installation
	@$(HOLDFAST) audit

test: lint test-unit test-live ## everything, fast tests first

test-unit: setup-dev
	@$(PYTEST) tests/unit

# Two at a time: most of them is waiting for hosts.
test-live: setup-dev ## all tests on real hosts
	@echo 'two at a time, each with its output when it ends: $(EARLY) $(LATE)'
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target programs $(EARLY)
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target $(LATE)

test-e2e test-integration molecule-vault molecule-vault_agent: programs

programs: setup-dev ## fetch or build what is neither in Debian nor on PyPI
	@.venv/bin/holdfast artifacts fetch

test-e2e: setup-dev ## a whole installation of its own, and its audit
	@$(PYTEST) tests/e2e

test-integration: setup-dev ## parts with what they really talk to
	@$(PYTEST) tests/integration

molecule-%: setup-dev ## one role's scenario on hosts of its own: make molecule-web
	@cd roles/$* && HOLDFAST_NAME=mol-$(subst _,-,$*) PATH=$(CURDIR)/.venv/bin:$$PATH molecule test

lint: setup-dev ## ruff, mypy, yamllint, ansible-lint, role READMEs
	@.venv/bin/ruff check --output-format concise
	@.venv/bin/ruff format --check
	@.venv/bin/mypy
	@.venv/bin/yamllint --strict .
	@.venv/bin/python -m holdfast.roledocs --check
	@.venv/bin/ansible-lint --offline

format: setup-dev ## ruff's formatter, its safe fixes, role READMEs
	@.venv/bin/ruff check --fix
	@.venv/bin/ruff format
	@.venv/bin/python -m holdfast.roledocs

bench: setup-dev ## measure; results go to docs/benchmarks.md
	@.venv/bin/python -m benchmarks

lock: ## resolve the lock files again (needs uv)
	@requirements/lock.sh

advisories: setup-dev ## known weaknesses of the locked Python packages (asks the index's advisories)
	@.venv/bin/pip-audit --strict --disable-pip --require-hashes --requirement requirements/dev.txt
