"""Which Python package reaches CUDA here."""

from __future__ import annotations

import importlib.util
import os
from typing import Literal, get_args

from aerocam.errors import MissingDependencyError, UsageError, did_you_mean
from aerocam.runtime.cuda.access import Cuda

Package = Literal["cuda-python", "pycuda"]

PACKAGES: tuple[Package, ...] = get_args(Package)
"""In the order in which they are looked for: cuda-python has CUDA graphs, pycuda has none."""

VARIABLE = "AEROCAM_CUDA"
"""Environment variable that names one of `PACKAGES`, for a machine where the other one is broken."""

INSTALL = {
    "cuda-python": "pip install 'cuda-python==12.6.*' on JetPack 6, 'cuda-python==13.0.*' on JetPack 7 (elsewhere"
    " the major version of CUDA that nvidia-smi shows)",
    "pycuda": "pip install pycuda, which compiles against the CUDA toolkit with nvcc on the PATH:"
    " PATH=/usr/local/cuda/bin:$PATH",
}
"""What to run where a package is missing."""


def installed() -> tuple[Package, ...]:
    """Return the packages that are installed, without importing them; best first."""
    return tuple(name for name in PACKAGES if any(_has(module) for module in _MODULES[name]))


def open_cuda(package: str | None = None) -> Cuda:
    """Open the first GPU, through the first package that is installed.

    Args:
        package: One of `PACKAGES`; None: what the environment variable `VARIABLE` says, else the first there is.

    Raises:
        UsageError: The package is none of `PACKAGES`.
        MissingDependencyError: The package is not installed, or none of them is.
        EngineError: There is no GPU with a driver.
    """
    named = package or os.environ.get(VARIABLE) or None
    if named is not None and named not in PACKAGES:
        said = "cuda" if package else VARIABLE
        raise UsageError(f"{said}: there is no package '{named}' for CUDA. {did_you_mean(named, PACKAGES)}")
    available = installed()
    if named is None and not available:
        ways = "; or ".join(INSTALL[name] for name in PACKAGES)
        raise MissingDependencyError(
            f"CUDA: neither cuda-python nor pycuda is installed, one is needed to run a TensorRT engine: {ways}"
        )
    name = named or available[0]
    if name not in available:
        raise MissingDependencyError(f"CUDA: {name} is not installed, and was asked for: {INSTALL[name]}")
    return _open(name)


def _open(name: str) -> Cuda:
    if name == "cuda-python":
        from aerocam.runtime.cuda.cuda_python import CudaPython, load_runtime_api

        return CudaPython(load_runtime_api())
    from aerocam.runtime.cuda.pycuda_driver import PyCuda, load_driver

    return PyCuda(load_driver())


_MODULES = {"cuda-python": ("cuda.bindings.runtime", "cuda.cudart"), "pycuda": ("pycuda.driver",)}


def _has(module: str) -> bool:
    """Say whether a module could be imported; its packages are."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):  # its package is absent, or blocked in sys.modules
        return False
