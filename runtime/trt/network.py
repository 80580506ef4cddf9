"""An ONNX file as TensorRT's network: parsed by NVIDIA's own parser, its inputs and outputs described."""

from __future__ import annotations

import os
from typing import Any

from aerocam.errors import EngineError
from aerocam.runtime.trt.bindings import TensorRt
from aerocam.runtime.trt.engine_file import EngineTensor, Mode

ALIKE = ("INT8", "INT32", "INT64", "UINT8", "BOOL")
"""TensorRT's element types that NumPy calls the same, in small letters."""

DTYPES = {"FLOAT": "float32", "HALF": "float16"} | {name: name.lower() for name in ALIKE}
"""NumPy's names of TensorRT's element types that NumPy has."""


def empty_network(trt: Any, builder: Any, typed: bool) -> Any:
    """Return a network to parse into: explicit batch where that has to be asked for, strongly typed where it can.

    Args:
        trt: TensorRT's module.
        builder: Its builder.
        typed: Whether every tensor keeps the type that the file gives it.
    """
    names = ("EXPLICIT_BATCH", "STRONGLY_TYPED") if typed else ("EXPLICIT_BATCH",)
    flags = trt.NetworkDefinitionCreationFlag
    return builder.create_network(sum(1 << int(getattr(flags, name)) for name in names if hasattr(flags, name)))


def parse(tensorrt: TensorRt, logger: Any, network: Any, path: str | os.PathLike[str]) -> Any:
    """Read an ONNX file into a network; weights beside the file are found too.

    Returns:
        The parser: the network's weights may lie in it, so it has to outlive the build.

    Raises:
        EngineError: The parser refuses the file.
    """
    parser = tensorrt.module.OnnxParser(network, logger)
    if not parser.parse_from_file(os.fspath(path)):
        said = [_described(parser.get_error(i)) for i in range(parser.num_errors)] or [logger.errors()]
        raise EngineError(
            f"{os.fspath(path)}: the parser of {tensorrt} does not take it: {'; '.join(dict.fromkeys(said))}. Export"
            " the model with `destination='tensorrt'`, which says what to do about each such operator"
        )
    return parser


def _described(error: Any) -> str:
    """Return node, operator, and the first line of the parser's own words."""
    told = {name: str(getattr(error, name)()) for name in ("node_name", "node_operator") if hasattr(error, name)}
    words = (str(error.desc()).strip().splitlines() or ["no reason given"])[0].rstrip(".")
    if not any(told.values()):
        return words
    return f"node '{told['node_name']}' ({told['node_operator'] or 'operator not named'}): {words}"


def network_tensors(network: Any, path: str | os.PathLike[str]) -> tuple[EngineTensor, ...]:
    """Return inputs and outputs of a parsed network, in the model's order.

    Raises:
        EngineError: One has no static shape, or a type that NumPy does not have.
    """
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    outputs = [network.get_output(i) for i in range(network.num_outputs)]
    modes: list[tuple[Mode, list[Any]]] = [("input", inputs), ("output", outputs)]
    return tuple(_tensor(tensor, mode, os.fspath(path)) for mode, tensors in modes for tensor in tensors)


def _tensor(tensor: Any, mode: Mode, path: str) -> EngineTensor:
    name, shape, dtype = str(tensor.name), tuple(int(size) for size in tensor.shape), str(tensor.dtype.name)
    if any(size < 0 for size in shape):
        raise EngineError(
            f"{path}: {mode} '{name}' has the shape {shape}, a static one is expected (-1 is not fixed): masks, maps"
            " and heads are made for one shape; export the model again with `input_shapes`"
        )
    if dtype not in DTYPES:
        raise EngineError(
            f"{path}: {mode} '{name}' is {dtype}, expected one of {', '.join(DTYPES.values())}, which NumPy has; export"
            " the model again with such an end"
        )
    return EngineTensor(name, mode, DTYPES[dtype], shape)


def computed_in(trt: Any, network: Any) -> dict[str, str]:
    """Return the type in which each convolution and product of a network can run, NumPy's name by the layer's.

    That is int8 where the input comes from a DequantizeLinear, else the type of what it gives.
    """
    kinds = {getattr(trt.LayerType, name) for name in ("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY")}
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    dequantised = {layer.get_output(0).name for layer in layers if layer.type == trt.LayerType.DEQUANTIZE}
    types = {}
    for layer in layers:
        if layer.type in kinds:
            dtype = str(layer.get_output(0).dtype.name)
            quantised = layer.get_input(0).name in dequantised
            types[str(layer.name)] = "int8" if quantised else DTYPES.get(dtype, dtype.lower())
    return types
