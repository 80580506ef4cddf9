"""NVIDIA's parser and builder without a GPU: TensorRT for RTX, one builder per process."""

from __future__ import annotations

import functools
from typing import Any

import onnx
import pytest

from aerocam.runtime.trt.bindings import message_logger
from rtx import HAS_WHEELS, rtx

needs_builder = pytest.mark.skipif(not HAS_WHEELS, reason="no TensorRT for RTX for this platform")


class NvidiaBuilder:
    """The parser and the builder of TensorRT for RTX, for Ampere."""

    def __init__(self) -> None:
        """Load the libraries."""
        self.trt = rtx()
        self._logger = message_logger(self.trt)
        self._builder = self.trt.Builder(self._logger)

    def takes(self, operator: str) -> bool:
        """Whether the parser has a function for an operator of ONNX."""
        parser = self.trt.OnnxParser(self._builder.create_network(0), self._logger)
        return parser.supports_operator(operator)

    def refusal(self, proto: onnx.ModelProto) -> tuple[str, str] | None:
        """`parser` or `builder`, and the first thing it says, where a model is not taken; None where it is."""
        network = self._builder.create_network(0)
        parser = self.trt.OnnxParser(network, self._logger)
        if not parser.parse(proto.SerializeToString()):
            return "parser", parser.get_error(0).desc()
        del self._logger.messages[:]
        if self._builder.build_serialized_network(network, self._configuration()) is None:
            return "builder", self._logger.errors()
        return None

    def _configuration(self) -> Any:
        config = self._builder.create_builder_config()
        config.clear_flag(self.trt.BuilderFlag.TF32)
        config.num_compute_capabilities = 1
        config.set_compute_capability(self.trt.ComputeCapability.SM86, 0)
        return config


@functools.cache
def nvidia_builder() -> NvidiaBuilder:
    """The builder of this process: making one takes a second."""
    return NvidiaBuilder()
