# Everything goes through bootstrap.py, so that a machine without make can do it too.
PYTHON ?= python3

.PHONY: setup demo test test-slow test-gpu test-parsers golden site quality style wheel
setup:
	$(PYTHON) bootstrap.py setup
demo:
	$(PYTHON) bootstrap.py demo
test:
	$(PYTHON) bootstrap.py test
test-slow:
	$(PYTHON) bootstrap.py test -- -m slow
test-gpu:
	$(PYTHON) bootstrap.py test -- -n 0 -m gpu
# The parsers of LLaMA-Factory, axolotl and TRL on every golden export; needs a package index.
test-parsers:
	$(PYTHON) bootstrap.py test -- -m slow tests/exporters/test_parsers.py -rs
golden: setup
	.venv/bin/python -m tests.support.golden
	.venv/bin/python -m tests.support.keywords
	.venv/bin/python -m tests.support.notebook
# build/site; with "Will it fit?" if build/will-it-fit.html is there.
site: setup
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict
quality:
	$(PYTHON) bootstrap.py quality
style: setup
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .
wheel: setup
	.venv/bin/python -m pip wheel --quiet --no-deps --wheel-dir dist .
