# make install · demo · test · lint · bench · docs       Everything runs in .venv; nothing else is touched.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
EXTRAS := dev,docs,local,code,math
DEMO := runs/demo-$(shell date +%Y%m%d-%H%M%S)

.PHONY: install demo test lint bench docs

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) -e '.[$(EXTRAS)]'
	$(PIP) -e '.[puzzles]' || echo '*** no reasoning-gym, which needs a C compiler: puzzles cannot be judged ***' >&2
	touch $@

demo: $(STAMP)
	$(BIN)/ponder loop --out $(DEMO)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/pytest -n 2

bench: $(STAMP)
	for file in benchmarks/*.py; do $(BIN)/python $$file || exit 1; done

docs: $(STAMP)
	$(BIN)/python docs/generate.py
	$(BIN)/mkdocs build --strict
