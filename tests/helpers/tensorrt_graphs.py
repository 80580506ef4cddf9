"""Small graphs on both sides of every row of the table of what TensorRT refuses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

node = helper.make_node
F, I64, U8 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.UINT8


def graph(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, tuple[int, Sequence[int]]],
    constants: Mapping[str, Any] | None = None,
    outputs: Mapping[str, int] | None = None,
    opset: int = 17,
) -> onnx.ModelProto:
    """A model with typed inputs and outputs and every shape inferred."""
    arrays = {name: np.asarray(value) for name, value in (constants or {}).items()}
    made = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in (outputs or {"y": F}).items()],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    proto = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8 if opset < 21 else 10)
    return onnx.shape_inference.infer_shapes(proto)


def one(op: str, shape: Sequence[int], *constants: Any, opset: int = 17, kind: int = F, **attributes: Any) -> Any:
    """A model of one node on `x` and constants."""
    names = [f"c{i}" for i in range(len(constants))]
    given = {name: array for name, array in zip(names, constants, strict=True) if array is not None}
    order = [name if name in given else "" for name in names]
    return graph([node(op, ["x", *order], ["y"], name="n", **attributes)], {"x": (F, shape)}, given, {"y": kind}, opset)


def quantised(zero: Any, weight: Any = None) -> onnx.ModelProto:
    """Rounded and back; or with a constant as what is scaled."""
    constants = {"s": np.float32(0.1), "z": zero} | ({} if weight is None else {"w": weight})
    if weight is None:
        body = [node("QuantizeLinear", ["x", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"], ["y"])]
    else:
        body = [node("DequantizeLinear", ["w", "s", "z"], ["f"]), node("Add", ["x", "f"], ["y"])]
    return graph(body, {"x": (F, [2, 3])}, constants)


def attention(kind: int, shape: Sequence[int], **attributes: Any) -> onnx.ModelProto:
    inputs = dict.fromkeys("qkv", (kind, shape))
    return graph([node("Attention", [*"qkv"], ["y"], **attributes)], inputs, outputs={"y": kind}, opset=23)


def loop(own: bool, reads: bool) -> onnx.ModelProto:
    """A Loop with a condition of its own, or without; its body hands on the one it is given, or a constant one."""
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [node("Identity", ["going" if reads else "true"], ["on"]), node("Relu", ["s"], ["t"])],
        "body",
        [info("i", I64, []), info("going", TensorProto.BOOL, []), info("s", F, [2, 3])],
        [info("on", TensorProto.BOOL, []), info("t", F, [2, 3])],
    )
    repeated = node("Loop", ["trips", "true" if own else "", "x"], ["y"], body=body)
    return graph([repeated], {"x": (F, [2, 3])}, {"trips": 3, "true": True})


def whole_numbers(kind: int) -> onnx.ModelProto:
    cast = [node("Cast", ["x"], ["a"], to=kind), node("Transpose", ["a"], ["b"]), node("Cast", ["b"], ["y"], to=F)]
    return graph(cast, {"x": (F, [2, 3])})


TAPS = np.ones((3, 4, 3, 3), np.float32)
HALVES = np.float32([1, 1, 0.5, 0.5])
ROWS, COLUMN = np.array([[0], [1]]), np.array([[0, 1, 2, 0], [1, 0, 1, 1]])
PICTURE, UPDATES = (1, 3, 8, 8), np.ones((2, 4), np.float32)
FOUR = [np.ones(3, np.float32)] * 4
RANK_9 = [node("Reshape", ["x", "s"], ["a"]), node("Relu", ["a"], ["b"]), node("Reshape", ["b", "t"], ["y"])]

GRAPHS: dict[str, Callable[[], onnx.ModelProto]] = {
    **{f"{op} of {rank} axes": lambda op=op, rank=rank: one(op, (5,) * rank, kind=I64 if op[0] == "A" else F)
       for op in ("ArgMax", "ArgMin", "Softmax", "LogSoftmax", "Hardmax") for rank in (1, 2)},
    **{f"strides {s}, dilations {d}": lambda s=s, d=d: one("ConvTranspose", PICTURE, TAPS, strides=s, dilations=d)
       for s, d in (([2, 2], [2, 2]), ([2, 1], [1, 2]), ([1, 1], [2, 2]), ([2, 2], [1, 1]))},
    **{f"{op} with dilations {d}": lambda op=op, d=d: one(op, PICTURE, opset=19, kernel_shape=[2, 2], dilations=[d, d])
       for op in ("MaxPool", "AveragePool", "LpPool") for d in (1, 2)},
    **{f"{op}, p {p}": lambda op=op, p=p: one(op, PICTURE, p=p, **({"kernel_shape": [2, 2]} if op == "LpPool" else {}))
       for op in ("LpPool", "GlobalLpPool") for p in (1, 2, 3)},
    **{f"LpPool on {rank} axes": lambda rank=rank: one("LpPool", (1, 2, *[6] * rank), kernel_shape=[2] * rank)
       for rank in (1, 3)},
    **{f"Conv on {rank} axes": lambda rank=rank: one("Conv", (1, 2, *[3] * rank), np.ones((2, 2, *[1] * rank), "f4"))
       for rank in (1, 3, 4)},
    **{f"ScatterElements {r}": lambda r=r: one("ScatterElements", (3, 4), COLUMN, UPDATES, opset=18, reduction=r)
       for r in ("none", "add", "mul", "max", "min")},
    **{f"ScatterND {r}": lambda r=r: one("ScatterND", (3, 4), ROWS, UPDATES, opset=18, reduction=r)
       for r in ("none", "add", "mul", "max", "min")},
    **{f"Resize, {c}": lambda c=c: one("Resize", PICTURE, None, HALVES, opset=19, coordinate_transformation_mode=c)
       for c in ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel", "half_pixel_symmetric")},
    "Resize, tf_crop_and_resize": lambda: one(
        "Resize", PICTURE, np.float32([0, 0, 0.1, 0.1, 1, 1, 0.9, 0.9]), HALVES, mode="linear",
        coordinate_transformation_mode="tf_crop_and_resize"),
    **{f"Resize, antialias {a}": lambda a=a: one("Resize", PICTURE, None, HALVES, opset=18, mode="linear", antialias=a)
       for a in (0, 1)},
    **{f"Resize, {p}": lambda p=p: one("Resize", PICTURE, None, None, [12, 10], opset=18, axes=[2, 3],
                                       mode="linear", keep_aspect_ratio_policy=p)
       for p in ("stretch", "not_larger", "not_smaller")},
    **{f"rounding to {z.dtype}, zero point {z}": lambda z=z: quantised(z)
       for z in (np.int8(0), np.int8(3), np.uint8(0), np.uint8(128))},
    "a weight in int8": lambda: quantised(np.int8(0), np.ones(3, np.int8)),
    "a weight in int8 with a zero point": lambda: quantised(np.int8(1), np.ones(3, np.int8)),
    "a weight in uint8": lambda: quantised(np.uint8(0), np.ones(3, np.uint8)),
    "a bias in int32": lambda: quantised(np.int32(0), np.ones(3, np.int32)),
    **{f"Cast to {TensorProto.DataType.Name(kind)}": lambda kind=kind: whole_numbers(kind)
       for kind in range(1, 14) if kind != TensorProto.STRING},
    "a picture in uint8": lambda: graph([node("Cast", ["x"], ["y"], to=F)], {"x": (U8, [2, 3])}),
    "a picture in uint8, turned first": lambda: graph(
        [node("Transpose", ["x"], ["a"]), node("Cast", ["a"], ["y"], to=F)], {"x": (U8, [2, 3])}),
    "uint8 out": lambda: graph([node("Cast", ["x"], ["y"], to=U8)], {"x": (F, [2, 3])}, outputs={"y": U8}),
    "uint8 out, turned": lambda: graph(
        [node("Cast", ["x"], ["a"], to=U8), node("Transpose", ["a"], ["y"])], {"x": (F, [2, 3])}, outputs={"y": U8}),
    "nine axes": lambda: graph(RANK_9, {"x": (F, [2] * 8)}, {"s": [2] * 8 + [1], "t": [256]}),
    "eight axes": lambda: one("Relu", [2] * 8),
    "two outputs of MaxPool": lambda: graph(
        [node("MaxPool", ["x"], ["y", "places"], kernel_shape=[2, 2])], {"x": (F, PICTURE)}),
    "three outputs of LayerNormalization": lambda: graph(
        [node("LayerNormalization", ["x", "s"], ["y", "m", "v"])], {"x": (F, [2, 3])}, {"s": FOUR[0]}),
    "BatchNormalization that trains": lambda: graph(
        [node("BatchNormalization", ["x", *"sbmv"], ["y", "om", "ov"], training_mode=1)], {"x": (F, [2, 3, 4])},
        dict(zip("sbmv", FOUR, strict=True))),
    **{f"Dropout, training {t}": lambda t=t: one("Dropout", (2, 3), np.float32(0.5), np.array(t))
       for t in (False, True)},
    **{f"vector by {shape}": lambda shape=shape: graph(
        [node("MatMul", ["x", "b"], ["y"])], {"x": (F, [4]), "b": (F, shape)})
       for shape in ([4, 3], [1, 4, 3], [2, 4, 3])},
    "Slice of two axes by order": lambda: one("Slice", (1, 4, 6, 5), [0, 1], [1, 4]),
    "Slice of all axes by order": lambda: one("Slice", (6, 5), [0, 1], [1, 4]),
    **{f"Loop, own condition {own}, read {reads}": lambda own=own, reads=reads: loop(own, reads)
       for own in (False, True) for reads in (False, True)},
    "Scan": lambda: graph([node("Scan", ["x"], ["y"], num_scan_inputs=1, body=helper.make_graph(
        [node("Relu", ["r"], ["o"])], "b", [helper.make_tensor_value_info("r", F, [3])],
        [helper.make_tensor_value_info("o", F, [3])]))], {"x": (F, [2, 3])}),
    **{f"Attention, {TensorProto.DataType.Name(kind)}, heads of {size}": lambda kind=kind, size=size: attention(
        kind, [1, 4, 32, size]) for kind in (F, TensorProto.FLOAT16) for size in (8, 64)},
    "Attention on three axes": lambda: attention(F, [1, 32, 32], q_num_heads=4, kv_num_heads=4),
    "Attention, softcap": lambda: attention(TensorProto.FLOAT16, [1, 4, 32, 64], softcap=2.0),
    **{f"TopK, {k} of 9000": lambda k=k: graph(
        [node("TopK", ["x", "k"], ["y", "i"])], {"x": (F, [1, 9000])}, {"k": [k]}) for k in (3840, 3841)},
    "NonZero": lambda: graph(
        [node("NonZero", ["x"], ["i"]), node("Cast", ["i"], ["y"], to=F)], {"x": (F, [2, 3])}),
}  # fmt: skip
"""Graphs on both sides of every row."""
