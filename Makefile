# Two commands: `make demo` runs the whole study on the embedded cohort, `make test` runs the tests in at most eight
# minutes on two cores. `make test-all` runs all tests but those that need a cluster, which `make test-slurm` runs.
# `make docs` builds the pages into build/docs/html and runs their examples.
# Each of them sets everything up first: a virtual environment from exact pins, made once, and again if the pins change.

PYTHON ?= python3
VENV := .venv
READY := $(VENV)/requirements.txt
CORES ?= all

.PHONY: demo figure test test-rest test-all test-slurm check docs bench scaling cost coverage cohort-check training steps
.PHONY: choices null confounds sizes signals clean

demo: $(READY)
	@. $(VENV)/bin/activate && snakemake --cores $(CORES)

# The first figure of README and docs, as the demo has drawn it.
figure: demo
	@cp results/demo/splits/kfold/figures/heatmaps_AD.png docs/figures/

# All tests of a file run in one process, because they share a study. Files start in the order of their paths: studies,
# which take longest, before unit tests.
PYTEST := . $(VENV)/bin/activate && python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=10

# Tests with real components of each room of the package, and one small study from end to end.
test: $(READY)
	@$(PYTEST) -m "not slow"

# The tests of test-all that test omits: the other studies, and all examples of tests that draw them at random.
test-rest: $(READY)
	@export VOXELWHY_EXAMPLES=all && $(PYTEST) -m "slow or random"

test-all: $(READY)
	@export VOXELWHY_EXAMPLES=all && $(PYTEST)

# On a real SLURM of one node, which the tests start in a folder and stop again (as root on Debian; elsewhere they are
# skipped with the reason). In one process: the tests share the cluster, which runs their long jobs in parallel.
test-slurm: $(READY)
	@. $(VENV)/bin/activate && python -m pytest -rs tests/slurm

check: $(READY)
	@. $(VENV)/bin/activate && ruff check . && ruff format --check . && snakefmt --check workflow \
		&& snakemake --lint && PYTHONPATH=scripts lint-imports --no-cache

# A warning is an error: a broken link, a docstring that cannot be read, an export without an entry.
docs: $(READY)
	@. $(VENV)/bin/activate && build="sphinx-build -q -W --keep-going -d build/docs/doctrees" \
		&& $$build -E -b html docs build/docs/html && $$build -b doctest docs build/docs/doctest

# How fast the methods are compared with other packages; makes docs/explaining/speed.md. ROWS=name,name measures some
# rows, FULL=1 runs slow packages on all of their windows.
# Waiting threads do not spin, so that another job on the machine slows all packages down equally.
bench: $(READY)
	@. $(VENV)/bin/activate && PYTHONPATH=scripts:tests OMP_WAIT_POLICY=PASSIVE python -m bench $(if $(ROWS),--rows $(ROWS)) $(if $(FULL),--full)

# How the cost of a study grows with its scans (hours; makes docs/running/scaling.md), and run time and memory of ADNI
# (hours; makes docs/running/cost.md).
scaling: $(READY)
	@. $(VENV)/bin/activate && export PYTHONPATH=scripts:tests && python -m bench.scaling && python -m bench.scaling_page

cost: $(READY)
	@. $(VENV)/bin/activate && export PYTHONPATH=scripts:tests && mkdir -p results/bench \
		&& python -m bench.cost_study > results/bench/cost.yaml \
		&& snakemake --cores $(CORES) --configfile results/bench/cost.yaml && python -m bench.cost_page

# Coverage of each interval and false positive rate of each test, by simulation (minutes; makes docs/figures/coverage.md).
coverage: $(READY)
	@. $(VENV)/bin/activate && PYTHONPATH=scripts:tests python -m bench.coverage

# How well networks learn by channel, normalisation, number of subjects and recipe (hours; resumes), and whether reading
# hides behind the steps: the tables of docs/workflow/training.md.
training: $(READY)
	@. $(VENV)/bin/activate && export PYTHONPATH=scripts:tests && python -m bench.recipes && python -m bench.feeding

# What simulation, registration, a step of training and the voxelwise baseline take, and what smoothing changes (a
# quarter of an hour, after make demo): the small tables of docs/workflow/.
steps: demo
	@. $(VENV)/bin/activate && PYTHONPATH=scripts:tests OMP_NUM_THREADS=1 python -m bench.workflow_tables

# Effect sizes of the embedded cohort in its scoring atlas next to published ones (three minutes; makes
# docs/figures/effect_sizes.md).
cohort-check: $(READY)
	@. $(VENV)/bin/activate && PYTHONPATH=scripts:tests python -m bench.cohort_check

# How choices, chance, confounds, the number of subjects and the place of the signal affect heatmaps (hours each;
# resumes): figures, tables and findings of docs/trust/. Runs that docs/figures/runs/ has recorded are not run again.
choices null confounds sizes signals: $(READY)
	@. $(VENV)/bin/activate && export PYTHONPATH=scripts:tests && python -m bench.record take $@ \
		&& snakemake --cores $(CORES) --configfile config/$@.yaml && python -m bench.record keep $@

# The checkout itself is installed as a link, for the command voxelwhy alone: Snakemake takes the package from scripts/.
# The stamp is a copy of the pins, so that a checkout that changes only the time of the file sets nothing up again.
$(READY): requirements.txt
	@if cmp -s requirements.txt $@; then touch $@; else \
		$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
			|| { echo "voxelwhy needs Python 3.11 or newer; name one: make PYTHON=/path/to/python3.11"; exit 1; }; \
		echo "setting up $(VENV) (once; a few minutes)"; \
		$(PYTHON) -m venv --clear $(VENV) && $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
			-r requirements.txt && $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
			--editable . && cp requirements.txt $@; \
	fi

# results/README.md stays: it is part of the checkout.
clean:
	rm -rf .snakemake build/docs
	find results -mindepth 1 -maxdepth 1 ! -name README.md -exec rm -rf {} +
