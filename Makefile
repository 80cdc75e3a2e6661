# `make demo` and `make test` do all their own set-up: an environment in .venv with the pinned packages.

PYTHON ?= $(firstword $(foreach p,python3.12 python3.13 python3.11 python3 python,$(shell $(p) -c 'import sys; print("$(p)") if (3, 11) <= sys.version_info[:2] <= (3, 13) else 0' 2>/dev/null)))
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-h100 lint bench

demo: $(VENV)/installed
	$(BIN)/alexnet-jax train --config=configs/digits.py --workdir=runs/demo
	$(BIN)/alexnet-jax evaluate --workdir=runs/demo
	$(BIN)/alexnet-jax evaluate --workdir=runs/demo --views=10
	@echo
	@echo 'runs/demo holds the run. What to try next:'
	@echo '  $(BIN)/alexnet-jax train --config=configs/digits.py --workdir=runs/demo --config.num_epochs=60   # goes on'
	@echo '  $(BIN)/alexnet-jax train --config=configs/cifar10.py:quick --workdir=runs/quick                  # see README'
	@echo '  $(BIN)/pip install tensorboard && $(BIN)/tensorboard --logdir=runs'

test: $(VENV)/installed $(VENV)/libtpu
	TPU_LIBRARY_PATH="$(abspath $(VENV))/libtpu/libtpu/libtpu.so" $(BIN)/python -m pytest

# The same for H100s, which needs no CUDA and no GPU: XLA's compiler and NVIDIA's assembler, 250 MB.
test-h100: $(VENV)/installed $(VENV)/plan-h100
	PYTHONPATH="$(abspath $(VENV))/plan-h100" ALEXNET_JAX_H100=1 $(BIN)/python -m pytest -n 0 tests/test_plan.py -k h100s

$(VENV)/plan-h100: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $@ jax-cuda13-plugin==0.10.2 jax-cuda13-pjrt==0.10.2 \
	  nvidia-cuda-nvcc==13.5.37 nvidia-cuda-crt==13.5.37 nvidia-nvvm==13.5.37
	@touch $@

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Those that need nothing else installed. benchmarks/against_*.py have a peer beside them.
bench: $(VENV)/installed
	$(BIN)/python benchmarks/step.py
	JAX_NUM_CPU_DEVICES=2 $(BIN)/python benchmarks/step.py --mesh=2,1
	JAX_NUM_CPU_DEVICES=2 $(BIN)/python benchmarks/step.py --mesh=1,2
	$(BIN)/python benchmarks/layers.py
	JAX_NUM_CPU_DEVICES=2 $(BIN)/python benchmarks/ten_views.py --mesh=2,1
	$(BIN)/python benchmarks/loader.py
	$(BIN)/python benchmarks/loader.py --encoding=jpeg
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/end_to_end.py
	$(BIN)/python benchmarks/checkpoints.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/growth.py

# What compiles for TPUs, for the proof of the collectives: the release that jax[tpu] asks for. Beside the
# environment, not in it, where JAX would look for a TPU at every start and complain that there is none.
$(VENV)/libtpu: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $@ libtpu==0.0.42.1
	@touch $@

$(VENV)/installed: requirements.txt pyproject.toml
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || \
	  { echo 'alexnet-jax needs Python 3.11, 3.12 or 3.13; say which with: make PYTHON=/path/to/python3.12'; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@
