"""A network in INT8 by ONNX Runtime's own quantiser."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from numpy.typing import NDArray


def quantise(model: Path, output: Path, tensors: Iterable[NDArray]) -> Path:
    """Quantise statically, as QuantizeLinear and DequantizeLinear: int8 weights per channel, uint8 activations.

    Args:
        model: The ONNX file in float32, with one input.
        output: Where to write.
        tensors: Inputs that the ranges of the activations are taken from.

    Returns:
        `output`.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    name = onnx.load(model, load_external_data=False).graph.input[0].name
    given = iter([{name: tensor} for tensor in tensors])

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, NDArray] | None:
            return next(given, None)

    types = {"weight_type": QuantType.QInt8, "activation_type": QuantType.QUInt8}
    quantize_static(str(model), str(output), Reader(), quant_format=QuantFormat.QDQ, per_channel=True, **types)
    return output
