# Every target sets up what it needs: a virtual environment with the locked installer, and by it the locked dependencies,
# from wheels only.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# Neighbouring tests share hubs and proofs, so that a worker takes them in a row; one that has none left takes another's.
PYTEST = $(BIN)/python -m pytest -n 2 --dist worksteal
PIP = $(BIN)/python -m pip --disable-pip-version-check --quiet
LOCKED = --only-binary :all: --require-hashes
# Every Python that pyproject.toml names; `make lock` keeps only what has wheels for all of them.
PYTHONS = 3.11 3.12 3.13 3.14
# Programs that `make check-setup` tries, each with the oldest pip that its Python ever brought.
SETUP_PYTHONS ?= $(PYTHON)

# An environment that another Python made is made anew.
ifneq ($(shell test -x $(BIN)/python && $(BIN)/python -V),$(shell $(PYTHON) -V))
CLEAR = --clear
.PHONY: $(VENV)/.pip
endif

.PHONY: demo test test-fast lint check-setup fuzz-service coverage mutants fuzz soundness trusted race bench bench-service bench-flood bench-peers growth agree vectors lock clean

demo: $(VENV)/.run
	$(BIN)/zkmargin demo

# Everything. Lines and branches of verifier/ are counted while its own tests run: fails below 100 %.
test: $(VENV)/.dev
	$(PYTEST) --cov

# All but the tests marked as slow.
test-fast: $(VENV)/.dev
	$(PYTEST) -m "not slow"

# Long: generated requests and garbage at every call of a real hub, on both databases.
fuzz-service: $(VENV)/.dev
	ZKMARGIN_FUZZ_ROUNDS=40 ZKMARGIN_FUZZ_EXAMPLES=300 ZKMARGIN_FUZZ_SEED=$$$$ \
	  $(PYTEST) tests/service/http/test_hub_fuzz.py tests/service/http/test_hub_openapi.py

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Every set-up in a new environment, with the oldest pip that a Python of that version brings. Downloads from the index.
check-setup: $(VENV)/.dev
	$(BIN)/python -m scripts.check_setup $(SETUP_PYTHONS)

# The double-spend race, long form, on both databases; PostgreSQL as ZKMARGIN_TEST_POSTGRES says.
race: $(VENV)/.dev
	$(BIN)/python scripts/race.py

# The verifier's tests alone, with the same count of its lines and branches.
coverage: $(VENV)/.dev
	$(PYTEST) tests/verifier --cov

# Change the verifier one thing at a time and see that a test fails; writes docs/MUTANTS.md. Takes about an hour.
mutants: $(VENV)/.dev
	$(BIN)/python -m scripts.mutate

# Every decoder, SECONDS each; guided by coverage where atheris has a wheel, else seeded mutations of the corpus.
SECONDS ?= 60
fuzz: $(VENV)/.fuzz
	$(BIN)/python -m fuzz.run --seconds $(SECONDS)

# What must be right for a verdict to be right: the tables of docs/SECURITY.md.
trusted: $(VENV)/.run
	$(BIN)/python -m scripts.trusted --files

# The error terms of docs/SECURITY.md.
soundness: $(VENV)/.run
	$(BIN)/python -m scripts.soundness

bench: $(VENV)/.run
	$(BIN)/zkmargin bench --primitives

# Real server and client processes; PostgreSQL as ZKMARGIN_TEST_POSTGRES says.
bench-service: $(VENV)/.dev
	$(BIN)/python benchmarks/service.py

# Credits while 800 strangers flood the hub; PostgreSQL as ZKMARGIN_TEST_POSTGRES says.
bench-flood: $(VENV)/.dev
	$(BIN)/python benchmarks/flood.py

# Installs snarkjs, circom and a Python prover by name into benchmarks/peers/.work; takes long the first time.
bench-peers: $(VENV)/.run
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python benchmarks/peers/run.py

growth: $(VENV)/.dev
	$(BIN)/python benchmarks/growth.py

# Native and reference verifier on 1,000 random mutations of valid proofs and statements.
agree: $(VENV)/.dev
	$(BIN)/python -m scripts.agree

# The frozen vectors are made again and compared, then answered by both engines and by our own driver. Takes minutes.
vectors: $(VENV)/.dev
	$(BIN)/python -m tests.vectors.generate --check
	$(BIN)/zkmargin vectors run --engine both
	$(BIN)/zkmargin vectors run --driver "$(BIN)/zkmargin vectors answer"

# Renew the lock files from pyproject.toml (needs uv). Extras stay in the locks: what is wanted with an extra is pinned with
# it, or older pips resolve it past the lock. constraints.txt has neither extras nor hashes, since pip refuses the first in
# a constraint and cannot have the second of a checkout.
COMPILE = uv pip compile --quiet --universal --python-version $(firstword $(PYTHONS)) --no-header --no-annotate
HASHED = $(COMPILE) --no-strip-extras --generate-hashes
lock:
	$(HASHED) --group pyproject.toml:installer --output-file requirements-pip.lock
	$(HASHED) --extra build --extra service --output-file requirements.lock pyproject.toml
	$(HASHED) --extra build --extra service --extra dev --constraint requirements.lock \
	  --output-file requirements-dev.lock pyproject.toml
	$(HASHED) --extra fuzz --constraint requirements.lock --output-file requirements-fuzz.lock pyproject.toml
	$(COMPILE) --extra client --extra service --extra oracle --extra plot --extra reference --extra fuzz \
	  --constraint requirements-dev.lock --constraint requirements-fuzz.lock --output-file constraints.txt pyproject.toml
	for python in $(PYTHONS); do for lock in requirements*.lock; do \
	  uv pip install --quiet --dry-run --target build/lock-check --python-version $$python --python-platform x86_64-manylinux_2_28 \
	    $(LOCKED) -r $$lock || exit 1; done; done

$(VENV)/.pip: requirements-pip.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "zkmargin needs Python 3.11 or later")'
	$(PYTHON) -m venv $(CLEAR) $(VENV)
	$(PIP) install $(LOCKED) -r requirements-pip.lock
	@touch $@

$(VENV)/.run: $(VENV)/.pip requirements.lock pyproject.toml
	$(PIP) install $(LOCKED) -r requirements.lock
	$(BIN)/python scripts/links.py
	$(PIP) install --no-deps --no-build-isolation --no-index --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.lock
	$(PIP) install $(LOCKED) -r requirements-dev.lock
	@touch $@

$(VENV)/.fuzz: $(VENV)/.dev requirements-fuzz.lock
	$(PIP) install $(LOCKED) -r requirements-fuzz.lock
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
