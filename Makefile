# Each target sets up .venv by itself. On Windows, see the plain pip lines in README.md.
PYTHON ?= python3
BIN = .venv/bin
INSTALL = $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable

.PHONY: demo test check bench clean

demo: .venv/runtime
	$(BIN)/infer demo demo
	$(BIN)/infer slice demo/demo.sgy --crossline 500 --model demo --out demo/crossline_500.npz --out demo/crossline_500.png
	$(BIN)/python benchmarks/demo.py demo/demo.facies.sgy demo/crossline_500.npz

test: .venv/everything
	$(BIN)/python -m pytest

# One test runs a model from JavaScript, where onnxruntime-node is there.
tests/node_modules:
	npm install --silent --no-audit --no-fund --ignore-scripts --no-package-lock --no-save --prefix tests onnxruntime-node@1.20

check: .venv/everything
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/everything
	$(BIN)/python benchmarks/patches.py
	$(BIN)/python benchmarks/slice.py

# Looking at a section needs no TensorFlow; the tests do.
.venv/runtime: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(INSTALL) ".[cpu,plot]"
	touch $@

.venv/everything: .venv/runtime
	$(INSTALL) ".[cpu,plot,serve,zarr,dask,trainer,test]"
	touch $@

clean:
	rm -rf .venv demo tests/node_modules
