# `make demo` and `make test` first create .venv, an environment with the pinned packages.

# The newest supported Python that can create an environment. PYENV_VERSION lets pyenv find the versions it has.
PYTHON ?= $(shell for v in 3.14 3.13 3.12 3.11 3; do PYENV_VERSION=$$v python$$v -c \
  'import ensurepip, sys; sys.version_info >= (3, 11) or sys.exit(1); print(sys.executable)' 2>/dev/null && break; done)
VENV ?= .venv
REQUIREMENTS ?= requirements.txt
BIN := $(VENV)/bin

.PHONY: demo test test-all test-h100 test-slurm torture lint docs pods bench requirements

demo: $(VENV)/installed
	$(BIN)/alexnet-jax train --config=digits --workdir=runs/demo
	$(BIN)/alexnet-jax evaluate --workdir=runs/demo
	$(BIN)/alexnet-jax evaluate --workdir=runs/demo --views=10
	@echo
	@echo 'runs/demo holds the run. What to try next:'
	@echo '  $(BIN)/alexnet-jax train --config=digits --workdir=runs/longer --config.num_epochs=60'
	@echo '  $(BIN)/alexnet-jax train --config=cifar10:quick --workdir=runs/quick                  # docs/data.md'
	@echo '  $(BIN)/pip install tensorboard && $(BIN)/tensorboard --logdir=runs'

test: $(VENV)/installed
	$(BIN)/python -m pytest -m 'not slow'

# Run all tests, including the slow ones. Without Chromium or SLURM their tests are skipped.
test-all: $(VENV)/installed $(VENV)/libtpu
	TPU_LIBRARY_PATH="$(abspath $(VENV))/libtpu/libtpu/libtpu.so" $(BIN)/python -m pytest

# Compile for H100s. This needs neither CUDA nor a GPU. It downloads 250 MB: XLA's compiler and NVIDIA's assembler. From
# Python 3.12 on, jax-triton is there and compiles our kernels.
test-h100: $(VENV)/installed $(VENV)/plan-h100
	PYTHONPATH="$(abspath $(VENV))/plan-h100" ALEXNET_JAX_H100=1 $(BIN)/python -m pytest -n 0 tests/plan/test_plan.py -k h100s

# Submit the files for SLURM to a SLURM of two nodes on this machine. On Debian: apt install slurm-wlm munge.
test-slurm: $(VENV)/installed
	ALEXNET_JAX_NO_SKIPS=1 $(BIN)/python -m pytest -n 0 -v tests/launch/test_slurm.py

# Kill commands, damage files, fill disks and mutate images at random. A failure prints how to repeat it.
MINUTES ?= 30
torture: $(VENV)/installed
	$(BIN)/python -m pytest -n 0 -s tests/torture --minutes=$(MINUTES)

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# Rewrite the pages that are generated from the code. Tests check that they are up to date.
docs: $(VENV)/installed
	$(BIN)/python -m alexnet_jax.config.describe >docs/settings.md.new
	mv docs/settings.md.new docs/settings.md
	$(BIN)/python docs/make_api.py
	$(BIN)/python docs/make_errors.py

# Write the tables of docs/pods.md: compile for TPUs and H100s. This takes about an hour on two cores.
pods: $(VENV)/installed $(VENV)/libtpu $(VENV)/plan-h100
	TPU_LIBRARY_PATH="$(abspath $(VENV))/libtpu/libtpu/libtpu.so" PYTHONPATH="$(abspath $(VENV))/plan-h100" \
	  $(BIN)/python docs/make_pods.py

# Run the benchmarks that need no other framework. benchmarks/against_*.py need one.
bench: $(VENV)/installed
	$(BIN)/python benchmarks/step.py
	$(BIN)/python benchmarks/layers.py
	$(BIN)/python benchmarks/ten_views.py
	$(BIN)/python benchmarks/loader.py
	$(BIN)/python benchmarks/loader.py --encoding=jpeg
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/end_to_end.py
	$(BIN)/python benchmarks/checkpoints.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/growth.py

# Rewrite requirements.txt and requirements-oldest.txt. The first has the newest packages for each supported Python. The
# second has the oldest that pyproject.toml allows, for Python 3.11.
PIN = $(BIN)/uv pip compile --quiet --upgrade --python-version 3.11 --no-annotate --extra dev \
	--custom-compile-command 'make requirements' pyproject.toml
requirements: $(VENV)/installed
	$(PIN) --universal --output-file requirements.txt
	$(PIN) --resolution lowest-direct --output-file requirements-oldest.txt

# The compilers for TPUs and GPUs, in the versions that match the installed JAX. They are kept out of the environment's
# packages: with libtpu installed, JAX would look for a TPU at every start and warn that there is none.
$(VENV)/libtpu: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $@ "$$($(BIN)/python -c \
	  'import importlib.metadata as m; print(*(r.split(";")[0] for r in m.requires("jax") if r.startswith("libtpu")))')"
	@touch $@

$(VENV)/plan-h100: $(VENV)/installed
	version=$$($(BIN)/python -c 'import importlib.metadata as m; print(m.version("jaxlib"))') && \
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $@ jax-cuda13-plugin==$$version \
	  jax-cuda13-pjrt==$$version nvidia-cuda-nvcc nvidia-cuda-crt nvidia-nvvm
	@touch $@

$(VENV)/installed: $(REQUIREMENTS) pyproject.toml
	@$(or $(PYTHON),false) -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo 'alexnet-jax needs Python 3.11 to 3.14 with the venv module (on Debian: apt install python3-venv).' \
	    'Choose one with: make PYTHON=/path/to/python3'; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement $(REQUIREMENTS)
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@
