# Each target makes .venv and installs into it what it needs; again only after pyproject.toml has changed.

PORT ?= 8000
PYTHON ?= $(shell command -v python3.11 || command -v python3)
# Another package index to take PyTorch from, for instance the one with its CPU wheels.
TORCH_INDEX ?=

export DEBIAN_FRONTEND = noninteractive
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: chat test test-faults test-conformance lint train results

chat: .venv/run
	@.venv/bin/chatbot serve --port $(PORT)

test: .venv/test
	$(call debian,command -v chromium || command -v chromium-browser || command -v google-chrome,chromium)
	.venv/bin/pytest -n 2 --dist loadfile

# Real servers attacked and killed: FAULTS_SOAK_MINUTES of it (30) are the soak.
test-faults: .venv/test
	.venv/bin/pytest tests/faults --timeout 7200

# The public Socket.IO suite, fetched into var/conformance, at the whole server.
test-conformance: .venv/test
	$(call debian,command -v npm,npm)
	.venv/bin/python -m tests.conformance

lint: .venv/lint
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy

train: .venv/run
	@exec .venv/bin/chatbot train configs/default.toml

results: .venv/run
	@exec .venv/bin/chatbot results

.venv/run: pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || { echo \
	  "Python 3.11 is needed: install it, or say where it is as in 'make chat PYTHON=/usr/bin/python3.11'." >&2; exit 1; }
	$(call debian,"$(PYTHON)" -c 'import ensurepip',python3.11-venv)
	"$(PYTHON)" -m venv .venv
	$(if $(TORCH_INDEX),.venv/bin/pip install --index-url $(TORCH_INDEX) "$$(grep -o 'torch==[0-9.]*' pyproject.toml)")
	.venv/bin/pip install --editable .
	@touch $@

.venv/test: .venv/run
	.venv/bin/pip install --editable '.[test]'
	@touch $@

.venv/lint: .venv/run
	.venv/bin/pip install --editable '.[dev]'
	@touch $@

# $(call debian,SHELL TEST,PACKAGE): the test holds, or root installs the package, or one sentence says how.
define debian
@{ $(1); } >/dev/null 2>&1 || { test "$$(id -u)" = 0 && apt-get update && apt-get install --yes $(2); } || { echo \
  "The Debian package $(2) is needed: install it with 'sudo apt-get install $(2)' and run make again." >&2; exit 1; }
endef
