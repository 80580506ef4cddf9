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
    """Runs a model on zeros and on two pictures, normalised and in 0 to 255, for the tensors that are asked for.

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
        except (AerocamError, ValueError, RuntimeError) as error:  # a weight may be shorter than its shape says
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
    """Return the inputs of every run: zeros, then two pictures; integers that are no picture (ids) are 0."""
    rng, feeds = np.random.default_rng(0), []
    for mean, factor in ((0.0, 0.0), (MEAN, 1 / DEVIATION), (0.0, 255.0)):
        feed = {}
        for value in model.graph.inputs:
            pixels, dtype = _picture(static_shape(value), rng), value.dtype.numpy()  # type: ignore[union-attr]
            levels = 255 * pixels * (factor > 0 and pixels.ndim == 4)
            is_real = np.issubdtype(dtype, np.floating)
            feed[str(value.name)] = np.asarray((pixels - mean) * factor if is_real else levels, dtype)
        feeds.append(feed)
    return feeds


def _picture(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return numbers in 0 to 1; for the shape of a picture smooth areas of colour, with fine noise over them."""
    if len(shape) != 4:
        return rng.random(shape, np.float32)
    last = is_channels_last(shape)
    count, channels, height, width = (shape[0], shape[3], *shape[1:3]) if last else shape
    fields = rng.random((count, channels, 4, 4), np.float32)
    coarse = np.array([[cv2.resize(field, (width, height)) for field in planes] for planes in fields])
    pixels = 0.9 * coarse + 0.1 * rng.random(coarse.shape, np.float32)
    return np.moveaxis(pixels, 1, -1) if last else pixels
