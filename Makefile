# Each target sets up .venv first. Another Python: make PYTHON=python3.13 test
PYTHON ?= python3
VENV := .venv
BOOK := .venv-book
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check install --quiet
# one process for each core; the reasons for skipping tests at the end
TEST := $(RUN) -m pytest -n auto --dist worksteal -rs
# a wheelhouse, if there is one, replaces the package index
PIP += $(patsubst %,--no-index --find-links %,$(wildcard wheelhouse))
WANTED := $(VENV)/requirements.txt
KERNELS := gluonlm/native/kernels.so
# All of a lock, or without a compiler all but GluonNLP. Locks are complete, and MXNet's metadata
# excludes NumPy 2, on which it runs: no dependencies.
INSTALL = $(RUN) gluonlm/system/preflight.py $(1) > $(WANTED) && $(PIP) --no-deps -r $(WANTED)

# a warning in somebody else's package (pip, matplotlib) is no error, whatever the caller has set
unexport PYTHONWARNINGS

.PHONY: train test test-full tutorials lab book pdf bench demo lint mutants pins wheelhouse clean

train: $(VENV)/installed
	$(RUN) -m gluonlm.train

test: $(VENV)/installed-dev
	$(TEST) -m "not full"

test-full: $(VENV)/installed-full
	$(TEST)

tutorials: $(VENV)/installed-tutorials
	$(RUN) tutorials/execute.py --jobs 2

lab: $(VENV)/installed-lab
	$(VENV)/bin/jupyter lab tutorials

book: $(BOOK)/installed $(VENV)/installed-dev
	$(BOOK)/bin/jupyter-book build -q tutorials --path-output $(BOOK)/site
	$(RUN) tutorials/slides.py $(BOOK)/site/_build/html/slides.html
	$(PIP) pdoc==16.0.0
	PYTHONPATH=. $(RUN) docs/reference.py $(BOOK)/site/_build/html/api
	@echo "open $(BOOK)/site/_build/html/index.html and $(BOOK)/site/_build/html/api/index.html"

pdf: book
	$(BOOK)/bin/python tutorials/pdf.py $(BOOK)/site/_build/html $(BOOK)/site/course.pdf

bench: $(VENV)/installed-bench
	$(RUN) benchmarks/speed --write

lint: $(VENV)/installed-dev
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(VENV)/bin/lint-imports --no-logo

demo: $(VENV)/installed
	PYTHONPATH=. $(RUN) benchmarks/demo.py

mutants: $(VENV)/installed-dev
	$(PIP) mutmut==3.8.1
	$(RUN) -m mutmut run
	$(RUN) -m mutmut results

$(VENV)/installed: requirements.txt
	@$(PYTHON) gluonlm/system/preflight.py
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(call INSTALL,requirements.txt)
	touch $@

# without a compiler, NumPy and MXNet compute everything
train test test-full tutorials lab book pdf bench demo: $(KERNELS)

$(KERNELS): $(wildcard gluonlm/native/*.cc gluonlm/native/*.h) | $(VENV)/installed
	@$(RUN) gluonlm/native/build.py

$(VENV)/installed-tutorials: requirements-tutorials.txt $(VENV)/installed
	$(call INSTALL,requirements-tutorials.txt)
	touch $@

# the package, too: notebooks in any folder import it
$(VENV)/installed-lab: $(VENV)/installed-tutorials
	$(PIP) jupyterlab==4.4.10
	$(PIP) --no-deps --editable .
	touch $@

$(VENV)/installed-dev: requirements-dev.txt $(VENV)/installed-tutorials
	$(call INSTALL,requirements-dev.txt)
	touch $@

$(VENV)/installed-bench: requirements-bench.txt $(VENV)/installed
	$(PIP) -r requirements-bench.txt
	touch $@

# without PyTorch (a wheelhouse has none), the tests that compare with it are skipped
$(VENV)/installed-full: requirements-bench.txt $(VENV)/installed-dev
	$(PIP) -r requirements-bench.txt && touch $@ \
		|| echo "PyTorch could not be installed: tests that need it are skipped"

$(BOOK)/installed: requirements-book.txt
	$(PYTHON) -m venv $(BOOK)
	$(BOOK)/bin/python -m pip --disable-pip-version-check install --quiet -r requirements-book.txt
	touch $@

pins: $(VENV)/installed
	$(PIP) uv==0.13.9
	$(RUN) tests/pins.py

# Run it once with each Python. The package wheel builds GluonNLP.
wheelhouse:
	@$(PYTHON) gluonlm/system/preflight.py
	$(PYTHON) -m pip --disable-pip-version-check download -q --no-deps --dest $@ wheel
	$(PYTHON) -m pip --disable-pip-version-check download -q --no-deps --dest $@ \
		-r requirements-dev.txt

clean:
	rm -rf $(VENV) $(BOOK)
