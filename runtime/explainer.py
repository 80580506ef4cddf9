"""From a frame to an explanation: preprocessing, the model, the CAM method and the scores, tied together."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from time import perf_counter
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam import manifest as contract
from aerocam.errors import ModelError, UsageError, did_you_mean
from aerocam.runtime import saliency, scores
from aerocam.runtime.explanation import Explanation
from aerocam.runtime.placement import Placement
from aerocam.runtime.preprocess import Preprocessor
from aerocam.runtime.raw_maps import raw_maps
from aerocam.runtime.session import Session, open_session
from aerocam.runtime.targets import Target, TargetLike, resolve

Outputs = Mapping[str, NDArray[Any]]

logger = logging.getLogger(__name__)


class Explainer:
    """Explains what an exported model sees, frame by frame. Not for use by several threads at once."""

    def __init__(
        self,
        model: str | os.PathLike[str] | Session,
        *,
        method: str | None = None,
        providers: Sequence[str] | None = None,
        threads: int | None = None,
        fusion: saliency.Fusion = "mean",
        top: int = 5,
    ) -> None:
        """Load the model.

        Args:
            model: A file written by `aerocam export`, or an open session (which then stays the caller's to close).
            method: CAM method; by default that of the model's fused head, or gradcam where it has none.
            providers: ONNX Runtime's execution providers by their own names; None means the CPU.
            threads: Threads inside an operator; None leaves it to ONNX Runtime.
            fusion: How the maps of several layers become one: `mean`, `max` or `product`.
            top: How many of the model's top classes to report.

        Raises:
            UsageError: An unknown method, fusion or provider, or a method that the file has not the outputs for.
            ModelError: The file cannot be read, or does not hold what its manifest says.
        """
        if fusion not in saliency.FUSIONS:
            raise UsageError(
                f"fusion '{fusion}': there is no such way to fuse layers. {did_you_mean(fusion, saliency.FUSIONS)}"
            )
        self._owned = isinstance(model, (str, os.PathLike))
        self.session: Session = (
            open_session(model, providers=providers, threads=threads)
            if isinstance(model, (str, os.PathLike))
            else model
        )
        self.manifest = self.session.manifest
        if self.manifest.preprocess is None:
            path = self.session.path
            self.close()
            raise UsageError(
                f"{path}: its input is a sequence or a volume, frames are expected; run it with"
                " aerocam.runtime.open_session and give what it returns to a method of aerocam.runtime.CAM_METHODS"
            )
        self._rule = self.manifest.preprocess
        self.fusion: saliency.Fusion = fusion
        self.top = top
        self.raw_maps = raw_maps(self.manifest, method)
        self.method = self.raw_maps.method
        self._outputs = (contract.CHOSEN, contract.SCORE, self.manifest.score.output, *self.raw_maps.outputs)
        self._check_model()
        self._preprocess = Preprocessor(self._rule)
        self._resolved: tuple[TargetLike, NDArray[np.int32]] = (None, resolve(None, self.manifest))
        self._said: set[str] = set()

    def __call__(self, frame: NDArray[np.uint8], target: TargetLike = None) -> Explanation:
        """Explain one frame.

        Args:
            frame: uint8 (H, W, 3) in BGR, as OpenCV reads it; for a model that takes GRAY also (H, W). It is kept in
                the explanation, not copied.
            target: What to explain: None for the model's own top choice, the index or the label of a class, or for a
                detector (class, anchor), each of which may be None.

        Returns:
            The explanation; its normalised map and overlay are computed when they are asked for.

        Raises:
            UsageError: A frame or a target that the model cannot take.
            ModelError: The engine failed.
        """
        started = perf_counter()
        tensor, placement = self._preprocess(frame)
        prepared = perf_counter()
        feeds = {self._rule.input: tensor, contract.TARGET: self.resolve(target)}
        outputs = self.session.run(feeds, self._outputs)
        inferred = perf_counter()
        raws = self.raw_maps(outputs)
        mapped = perf_counter()
        values = scores.probabilities(outputs[self.manifest.score.output], self.manifest.score)
        explanation = Explanation(
            frame=frame,
            raws=raws,
            placement=placement,
            target=self._target(outputs, values, placement),
            classes=scores.top_classes(values, self.manifest.labels, self.top),
            score=float(outputs[contract.SCORE][0]),
            method=self.method,
            layers=self.raw_maps.layers,
            normalisation=self.raw_maps.normalisation,
            fusion=self.fusion,
        )
        explanation.warnings = self._warnings(explanation)
        explanation.timings = {
            "preprocess": 1e3 * (prepared - started),
            "infer": 1e3 * (inferred - prepared),
            "cam": 1e3 * (mapped - inferred),
            "scores": 1e3 * (perf_counter() - mapped),
        }
        return explanation

    def resolve(self, target: TargetLike) -> NDArray[np.int32]:
        """A target as the model's run-time input; see `targets.resolve`. Worked out anew only when it changes.

        Raises:
            UsageError: The model has no such class or anchor.
        """
        if target != self._resolved[0]:
            self._resolved = (target, resolve(target, self.manifest))
        return self._resolved[1]

    def close(self) -> None:
        """Give back the model's memory, unless the session was handed in open."""
        if self._owned:
            self.session.close()

    def __enter__(self) -> Explainer:
        """The explainer itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the session, unless it was handed in open."""
        self.close()

    def _check_model(self) -> None:
        """Make sure, once, that the model has the inputs and outputs that its manifest names."""
        rule = self._rule
        inputs = {spec.name: spec for spec in self.session.inputs}
        outputs = [spec.name for spec in self.session.outputs]
        absent = [name for name in (rule.input, contract.TARGET) if name not in inputs]
        absent += [name for name in self._outputs if name not in outputs]
        if absent:
            raise ModelError(
                f"{self.session.path}: it has no {', '.join(repr(name) for name in absent)}, which its manifest names;"
                " export the model again"
            )
        if not inputs[rule.input].takes(np.empty(rule.shape, np.float32)):
            raise ModelError(
                f"{self.session.path}: input '{rule.input}' is {inputs[rule.input]}, its manifest says float32"
                f" {rule.shape}; export the model again"
            )

    def _target(self, outputs: Outputs, values: NDArray[np.float32], placement: Placement) -> Target:
        """What the model says it explained."""
        score, labels = self.manifest.score, self.manifest.labels
        output = outputs[score.output]
        chosen = outputs[contract.CHOSEN]
        index = int(chosen[0])
        label = scores.label_of(index, labels)
        if self.manifest.task != "detect":
            return Target(index, label, float(values[index]))
        anchor = int(chosen[1])
        box = scores.box_at(output, score, anchor)
        in_frame = placement.to_frame(box) if box is not None else None
        return Target(index, label, scores.at_anchor(output, score, index, anchor), anchor, in_frame)

    def _warnings(self, explanation: Explanation) -> list[str]:
        """What is wrong with the explanation; each text is logged as a warning the first time, later for debugging."""
        found = [] if np.isfinite(explanation.score) else ["the explained score is not finite"]
        found += saliency.problems(explanation.raws, explanation.layers, self.fusion)
        for text in found:
            logger.log(logging.DEBUG if text in self._said else logging.WARNING, "%s: %s", self.session.path, text)
            self._said.add(text)
        return found
