# Every target sets up what it needs: `make demo` and `make test` work in a fresh clone.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
BACKENDS ?= tensorflow jax torch
TESTS ?=
BENCHMARKS ?=
WORKERS ?= 2

export TF_CPP_MIN_LOG_LEVEL ?= 3
# Keras downloads nothing here, and a picture needs no screen.
export MPLBACKEND ?= agg

.PHONY: demo test test-oldest lint docs bench clean

demo: $(VENV)/.ready
	$(BIN)/python examples/detect_digits.py

# make test BACKENDS=jax TESTS=tests/ops/test_iou.py runs one backend and one file. JAX and PyTorch
# run as if the other frameworks, and what needs them, were not installed; then what was skipped for
# that runs beside them.
test: $(VENV)/.ready
	@for backend in $(BACKENDS); do \
		echo "== $$backend"; \
		case $$backend in \
			jax) hidden=tensorflow,torch,keras_cv,keras_hub ;; \
			torch) hidden=tensorflow,jax,keras_cv,keras_hub ;; \
			*) hidden= ;; \
		esac; \
		lacking=$(VENV)/lacking-$$backend; \
		KERAS_BACKEND=$$backend WITHOUT=$$hidden LACKING=$$lacking \
			$(BIN)/python -m pytest -n $(WORKERS) $(TESTS) || exit 1; \
		if [ "$$hidden" ] && [ -s $$lacking ]; then \
			KERAS_BACKEND=$$backend $(BIN)/python -m pytest -n $(WORKERS) @$$lacking || exit 1; \
		fi; \
	done

# The suite on the oldest Keras that the package allows, with a TensorFlow of its time.
test-oldest: .venv-oldest/.ready
	KERAS_BACKEND=tensorflow .venv-oldest/bin/python -m pytest -n $(WORKERS) $(TESTS)

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Draws the figures, runs the pages, the examples and the docstrings, all of them anew; a warning
# fails the build. DOCTESTS=0 and GALLERY=0 leave the last two out, for whoever writes a page.
docs: $(VENV)/.docs
	$(BIN)/sphinx-build -E -j $(WORKERS) -W -b html docs docs/_build/html

bench: $(VENV)/.bench
	$(BIN)/python -m tests.benchmarks $(BENCHMARKS)

clean:
	rm -rf .venv .venv-oldest demo_output docs/_build docs/_drawn docs/api docs/gallery

# torch comes first and alone, so that its pin holds for whatever depends on it. KerasCV and
# KerasHub are peers of the benchmarks, and their detectors are trained with our losses.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[jax,torch,keras-cv,keras-hub,dev]'
	touch $@

$(VENV)/.docs: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]'
	touch $@

# The one peer of the benchmarks that no test needs.
$(VENV)/.bench: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet -c constraints.txt faster-coco-eval
	touch $@

.venv-oldest/.ready: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --upgrade pip
	.venv-oldest/bin/python -m pip install --quiet -c constraints-oldest.txt -e '.[dev]'
	touch $@
