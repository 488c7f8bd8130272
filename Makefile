# make demo    a whole study with tiny models, on this machine: the main one, or STUDY=socratic-t5
# make test    all the tests that this machine can run, in JOBS=3 processes; ARGS="-k localq" goes to pytest
# make test-nemo  NeMo itself on a CPU, in an environment of its own: 2.3 GB and many minutes
# make lint    ruff and mypy        make docs   are the documents' links alive
# make bench   the benchmarks       make clean  delete what the above made, but no results
#
# Needs Python 3.11 or newer, with venv; or say PYTHON=/path/to/python. pip's own variables hold, e.g.
# PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu for a torch without CUDA (3 GB less).

.DELETE_ON_ERROR:
.PHONY: demo test test-nemo lint docs bench clean

# Many tests wait for a scheduler: three processes keep two cores busy.
JOBS ?= 3
STUDY ?= filipino-cpt

# A name on PATH can be a stub that only says what is missing: ask each to run.
PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
# Not .venv/bin/pip: its first line cannot hold a path with a space.
PY = .venv/bin/python
INSTALL = $(PY) -m pip install --disable-pip-version-check -q -c constraints.txt

demo: .venv/demo.stamp
	$(PY) -m pipeline run --study $(STUDY) --profile demo

test: .venv/dev.stamp
	$(PY) -m pytest -n $(JOBS) --dist worksteal $(ARGS)

# Away from tests/conftest.py, whose tools are those of the other environment.
test-nemo: .venv-nemo/nemo.stamp
	.venv-nemo/bin/python -m pytest -c /dev/null --rootdir . --confcutdir tests/nemo -p no:cacheprovider \
		--import-mode=importlib -W ignore -ra tests/nemo $(ARGS)

lint: .venv/dev.stamp
	$(PY) -m ruff check .
	$(PY) -m mypy

docs:
	@status=0; \
	for f in *.md docs/*.md jobs/*.md data/*/*.md; do \
	  for link in $$(grep -oE '\]\([^)#: ]+' "$$f" | cut -c3-); do \
	    [ -e "$$(dirname "$$f")/$$link" ] || { echo "$$f: no such file: $$link"; status=1; }; \
	  done; \
	done; exit $$status

bench: .venv/dev.stamp
	@for f in $(addprefix benchmarks/,cli_start.py scale.py corpus.py); do echo "== $$f"; $(PY) "$$f" || exit 1; done

clean:
	rm -rf .venv .venv-nemo build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(PY):
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11 or newer is not on PATH: install it, or make PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/demo.stamp: pyproject.toml constraints.txt | $(PY)
	$(INSTALL) -e '.[demo]'
	@touch $@

.venv/dev.stamp: pyproject.toml constraints.txt | $(PY)
	$(INSTALL) -e '.[dev]'
	@touch $@ .venv/demo.stamp

.venv-nemo/nemo.stamp: pyproject.toml constraints-nemo.txt
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11 or newer is not on PATH: install it, or make PYTHON=..." >&2; exit 1; }
	[ -x .venv-nemo/bin/python ] || $(PYTHON) -m venv .venv-nemo
	.venv-nemo/bin/python -m pip install --disable-pip-version-check -q -c constraints-nemo.txt \
		-e '.[nemo]' pytest
	@touch $@
