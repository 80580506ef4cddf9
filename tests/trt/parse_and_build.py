"""Whether NVIDIA's parser takes ONNX files, and its builder makes engines of them: with TensorRT-RTX without a GPU.

    pip install tensorrt-rtx-cu12
    python tests/trt/parse_and_build.py FILE.onnx ...

Takes the full `tensorrt` where that is installed, else `tensorrt_rtx`. Prints a line per file; the exit code is 1 where
one fails. A build proves graph, types, shapes and operators, not speed, and not the arithmetic on a GPU.
"""

from __future__ import annotations

import importlib
import sys
import time
from typing import Any


def find_tensorrt() -> Any:
    """TensorRT's Python module.

    Raises:
        SystemExit: There is none.
    """
    for name in ("tensorrt", "tensorrt_rtx"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise SystemExit("neither tensorrt nor tensorrt_rtx is installed; pip install tensorrt-rtx-cu12")


def network_flags(trt: Any) -> int:
    """Explicit batch where it has to be asked for, strongly typed where that can be."""
    flags = 0
    for name in ("EXPLICIT_BATCH", "STRONGLY_TYPED"):
        flag = getattr(trt.NetworkDefinitionCreationFlag, name, None)
        flags |= 0 if flag is None else 1 << int(flag)
    return flags


def configuration(trt: Any, builder: Any) -> Any:
    """Without TF32, which would round what the heads need exact; for Ampere where no GPU says otherwise."""
    config = builder.create_builder_config()
    if hasattr(trt.BuilderFlag, "TF32"):
        config.clear_flag(trt.BuilderFlag.TF32)
    if hasattr(config, "set_compute_capability"):
        config.num_compute_capabilities = 1
        config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    return config


def build(trt: Any, path: str) -> tuple[bool, str]:
    """Parse and build one file: whether it worked, and what to print."""
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(network_flags(trt))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(path):
        errors = [str(parser.get_error(i).desc()) for i in range(parser.num_errors)]
        return False, "does not parse: " + "; ".join(errors)
    start = time.perf_counter()
    plan = builder.build_serialized_network(network, configuration(trt, builder))
    seconds = time.perf_counter() - start
    if plan is None:
        return False, f"parsed, {network.num_layers} layers; does not build, see the log above"
    return True, f"parsed, {network.num_layers} layers; built in {seconds:.1f} s, plan {plan.nbytes / 1e6:.1f} MB"


def main(paths: list[str]) -> int:
    """The exit code."""
    if not paths:
        print(__doc__)
        return 2
    trt = find_tensorrt()
    print(f"{trt.__name__} {trt.__version__}")
    failed = False
    for path in paths:
        worked, text = build(trt, path)
        print(f"{path}: {text}", flush=True)
        failed |= not worked
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
