# Every target sets up what it needs: a virtual environment with the locked dependencies, from wheels only.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
VERIFIER_TESTS = test_frozen.py test_decoders.py test_claim.py test_verify.py test_batch.py test_attestation.py \
  test_authorisation.py test_snapshot_signature.py test_transcript.py test_srs.py test_transparency.py test_credit_entry.py test_hub_keys.py test_jws.py
PIP = $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test lint fuzz-service coverage mutants fuzz soundness race bench bench-service bench-peers growth agree vectors lock clean

demo: $(VENV)/.run
	$(BIN)/zkmargin demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2

# Long: generated requests and garbage at every call of a real hub, on both databases.
fuzz-service: $(VENV)/.dev
	ZKMARGIN_FUZZ_ROUNDS=40 ZKMARGIN_FUZZ_EXAMPLES=300 ZKMARGIN_FUZZ_SEED=$$$$ \
	  $(BIN)/python -m pytest -n 2 tests/test_hub_fuzz.py tests/test_hub_openapi.py

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The double-spend race, long form, on both databases; PostgreSQL as ZKMARGIN_TEST_POSTGRES says.
race: $(VENV)/.dev
	$(BIN)/python scripts/race.py

# Line and branch coverage of verifier/, by the tests that are about it; fails below 100 %.
coverage: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --cov --cov-report=term-missing $(addprefix tests/,$(VERIFIER_TESTS))

# Change the verifier one thing at a time and see that a test fails; writes docs/MUTANTS.md. Takes about an hour.
mutants: $(VENV)/.dev
	$(BIN)/python -m scripts.mutate

# Every decoder, SECONDS each; guided by coverage where atheris has a wheel, else seeded mutations of the corpus.
SECONDS ?= 60
fuzz: $(VENV)/.dev
	-$(PIP) install --only-binary :all: --require-hashes -r requirements-fuzz.lock
	$(BIN)/python -m fuzz.run --seconds $(SECONDS)

# The error terms of docs/SECURITY.md.
soundness: $(VENV)/.run
	$(BIN)/python -m scripts.soundness

bench: $(VENV)/.run
	$(BIN)/zkmargin bench --primitives

# Real server and client processes; PostgreSQL as ZKMARGIN_TEST_POSTGRES says.
bench-service: $(VENV)/.dev
	$(BIN)/python benchmarks/service.py

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
	$(BIN)/zkmargin vectors generate --check
	$(BIN)/zkmargin vectors run --engine both
	$(BIN)/zkmargin vectors run --driver "$(BIN)/zkmargin vectors answer"

# Renew the lock files from pyproject.toml (needs uv).
lock:
	uv pip compile --universal --no-strip-extras --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --extra build --extra service --output-file requirements.lock pyproject.toml
	uv pip compile --universal --no-strip-extras --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --extra build --extra service --extra dev --constraint requirements.lock --output-file requirements-dev.lock pyproject.toml
	uv pip compile --universal --no-strip-extras --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --extra fuzz --constraint requirements.lock --output-file requirements-fuzz.lock pyproject.toml

$(VENV)/.run: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "zkmargin needs Python 3.11 or later")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --only-binary :all: --require-hashes -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation --no-index --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.run
	$(PIP) install --only-binary :all: --require-hashes -r requirements-dev.lock
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
