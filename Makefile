# make demo: pretrains MMC on the embedded scenes, evaluates it and writes runs/demo/report.html.
# make test: runs the tests, without those marked slow. make test-all: runs those too, afterwards.
# A process takes whole files, whose tests share what they compile.
# make check: form, lint and types.
# make docs: the site of docs/, into site/.
# make test-versions: a few, on the oldest and on the newest releases that setup.cfg allows.
# Each makes .venv and installs what it needs.
PYTHON ?= python3
VENV ?= .venv
WORKDIR ?= runs/demo
RUN = $(VENV)/bin/python -m
PIP = $(RUN) pip install --quiet --disable-pip-version-check -c constraints.txt

# glibc 2.35 and newer: buffers on huge pages, where the kernel lets a program ask for them, cost a CPU fewer page faults.
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1

demo: $(VENV)/base
	$(RUN) jssl.train --config mmc:demo --workdir $(WORKDIR)
	$(RUN) jssl.evaluate --workdir $(WORKDIR) --baselines --report

test: $(VENV)/test
	$(RUN) pytest -n 2 --dist loadfile -m "not slow" $(TESTS)

test-all: test
	$(RUN) pytest -n 2 --dist loadfile -m slow $(TESTS)

check: $(VENV)/check
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) ty check --python $(VENV)

docs: $(VENV)/docs
	NO_MKDOCS_2_WARNING=1 $(RUN) mkdocs build --strict --quiet

test-versions:
	PYTHON=$(PYTHON) .ci/versions

$(VENV)/base: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	touch $@

$(VENV)/test: $(VENV)/base
	$(PIP) -e .[test]
	touch $@

$(VENV)/check: $(VENV)/base
	$(PIP) -e .[check]
	touch $@

$(VENV)/docs: $(VENV)/base
	$(PIP) -e .[docs]
	touch $@

clean:
	rm -rf $(VENV) site .venv-oldest .venv-newest build dist *.egg-info

.PHONY: demo test test-all test-versions check docs clean
