"""What a model's tensors hold when it is run on a few pictures: evidence for what its numbers mean."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import cv2
import numpy as np
import onnx.utils
import onnx_ir as ir
from numpy.typing import NDArray

from aerocam.errors import AerocamError
from aerocam.export.nodes.shapes import is_channels_last, static_shape
from aerocam.export.reading.light import LightModel
from aerocam.export.sessions import SessionFolder, onnxruntime_errors
from aerocam.providers import Provider

logger = logging.getLogger("aerocam.export")

MEAN, DEVIATION = 0.45, 0.225
"""Of the pixels of photographs in 0 to 1, roughly; what most networks subtract and divide by."""


class Probe:
    """Runs a model on a few pictures, in 0 to 1, in 0 to 255, and normalised, for the tensors that are asked for.

    Attributes:
        fault: Why the model could not be run; empty as long as it could.
    """

    def __init__(self, model: ir.Model, providers: Sequence[Provider] | None = None) -> None:
        """Prepare to run a model in normal form on these providers; nothing is run before something is asked for."""
        self.fault = ""
        self._model, self._providers = model, providers
        self._known: dict[str, list[NDArray] | None] = {}

    def values(self, tensor: ir.Value) -> list[NDArray] | None:
        """Return what a tensor holds, an array per picture; None where the model cannot be run as far as that."""
        name = str(tensor.name)
        if name not in self._known:
            outputs = [value for value in self._model.graph.outputs if value.name]
            together = [value for value in outputs if value.name not in self._known] if tensor in outputs else [tensor]
            self._known.update(self._run(together) or self._run([tensor]) or {name: None})
        return self._known[name]

    def _run(self, tensors: list[ir.Value]) -> dict[str, list[NDArray] | None]:
        """Return what tensors hold by their names; nothing where ONNX Runtime cannot compute them all."""
        names = [str(tensor.name) for tensor in tensors]
        try:
            with onnxruntime_errors(), SessionFolder(self._providers) as sessions:
                session = sessions.open(_cut(self._model, tensors))
                asked = {value.name for value in session.get_inputs()}
                feeds = [{key: x for key, x in feed.items() if key in asked} for feed in _feeds(self._model)]
                runs = [session.run(names, feed) for feed in feeds]
        except (AerocamError, ValueError) as error:  # a weight may be shorter than its shape says
            self.fault = " ".join(str(error).split())
            logger.debug("%s cannot be measured: %s", ", ".join(names), self.fault)
            return {}
        return {name: list(arrays) for name, arrays in zip(names, zip(*runs, strict=True), strict=True)}


def _cut(model: ir.Model, tensors: list[ir.Value]) -> LightModel:
    """Return the part of a model that computes tensors, which are its outputs."""
    light = LightModel.of(model)
    inputs = [value.name for value in light.proto.graph.input]
    proto = onnx.utils.Extractor(light.proto).extract_model(inputs, [str(tensor.name) for tensor in tensors])
    kept = {tensor.name for tensor in proto.graph.initializer}
    return LightModel(proto, {name: tensor for name, tensor in light.weights.items() if name in kept})


def _feeds(model: ir.Model) -> list[dict[str, NDArray]]:
    """Return the inputs of every run, another picture each time; integers are pixels in 0 to 255, others (ids) 0."""
    rng = np.random.default_rng(0)
    scalings = ((0.0, 1.0), (MEAN, DEVIATION), (0.0, 1 / 255), (0.5, 0.5))
    feeds = []
    for mean, deviation in scalings:
        feed = {}
        for value in model.graph.inputs:
            pixels, dtype = _picture(static_shape(value), rng), value.dtype.numpy()  # type: ignore[union-attr]
            is_real = np.issubdtype(dtype, np.floating)
            pixels = pixels * (is_real or pixels.ndim == 4)
            feed[str(value.name)] = ((pixels - mean) / deviation if is_real else 255 * pixels).astype(dtype)
        feeds.append(feed)
    return feeds


def _picture(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return numbers in 0 to 1; for the shape of a picture smooth areas of colour, with fine noise over them."""
    if len(shape) != 4:
        return rng.random(shape)
    last = is_channels_last(shape)
    count, channels, height, width = (shape[0], shape[3], *shape[1:3]) if last else shape
    coarse = [[cv2.resize(rng.random((4, 4)), (width, height)) for _ in range(channels)] for _ in range(count)]
    pixels = np.clip(np.array(coarse) + rng.normal(0, 0.05, (count, channels, height, width)), 0, 1)
    return np.moveaxis(pixels, 1, -1) if last else pixels
