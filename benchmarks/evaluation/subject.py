"""An exported file under test: its scores of tensors, and its maps by one method after the other.

Runs on the same tensor are made once for all metrics and methods of a picture. Scores of a graph that ends in sigmoid
are worked out of its probabilities; of a softmax they cannot be: a number added to all of them stays open, another one
for each tensor.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.benchmarks.evaluation.case import Floats, Map
from aerocam.benchmarks.evaluation.settings import MethodSpec
from aerocam.errors import UsageError
from aerocam.manifest import Manifest, Preprocess
from aerocam.providers import Provider
from aerocam.runtime.explainer import Explainer
from aerocam.runtime.explanation import Explanation
from aerocam.runtime.frames.inputs import model_input
from aerocam.runtime.maps.noise import GradientNoise
from aerocam.runtime.predictions import scores
from aerocam.runtime.predictions.targets import ResolvedTargets
from aerocam.runtime.sessions.opening import open_session
from aerocam.runtime.sessions.passes import passes
from aerocam.runtime.sessions.session import Closing


@dataclass
class Counts:
    """What a picture took: the model's runs for scores alone, its explanations, and those that were known already."""

    forward: int = 0
    explained: int = 0
    known: int = 0


class ModelUnderTest(Closing):
    """An exported file, open: one session for all methods. For the thread that made it."""

    def __init__(self, path: str, threads: int | None = 1, providers: Sequence[Provider] | None = None) -> None:
        """Open the model.

        Raises:
            UsageError: The model is not a classifier of pictures with two classes or more, or takes frames only.
            ModelError: The model cannot be read.
        """
        engine = not path.lower().endswith(".onnx")
        self._opening: dict[str, Any] = {"providers": providers, "threads": None if engine else threads}
        self.session = open_session(path, **self._opening)
        self.manifest: Manifest = self.session.manifest
        try:
            self.rule = _checked(self.manifest, path)
        except UsageError:
            self.session.close()
            raise
        self._passes = passes(self.session, (self.manifest.score.output,), (), self._opening)
        self._target = ResolvedTargets.of(None, self.manifest).slots[0]
        self._explainers: dict[str, Explainer] = {}
        self.forget()

    def forget(self) -> None:
        """Forget all runs and maps and reset the counts, for another picture."""
        self.counts = Counts()
        self._rows: dict[bytes, NDArray[np.float32]] = {}
        self.maps: dict[tuple[str, bytes, int], Map] = {}

    def explainer(self, method: MethodSpec) -> Explainer:
        """Return the explainer of a method, opened once.

        Raises:
            UsageError: The file cannot give the method.
        """
        if method.label not in self._explainers:
            arguments = {"method": method.name, "options": method.options, **self._opening}
            self._explainers[method.label] = Explainer(self.session, **arguments)
        return self._explainers[method.label]

    def probabilities(self, tensors: Floats) -> Floats:
        """Return the probabilities of input tensors; see `case.Subject`."""
        return np.stack([self._row(one[None]) for one in tensors])

    def logits(self, tensors: Floats) -> Floats:
        """Return the logits of input tensors; see `case.Subject`.

        Raises:
            UsageError: The graph ends in softmax.
        """
        if self.manifest.score.activation == "softmax":
            raise UsageError(
                "score 'logit': the model ends in softmax, which leaves its logits open; take score=probability, or"
                " export it without its softmax"
            )
        return np.stack([self._row(one[None], logits=True) for one in tensors])

    def _row(self, tensor: Floats, logits: bool = False) -> NDArray[np.float32]:
        """Return the logits or the probabilities of one tensor."""
        key = digest(tensor)
        if key in self._rows:
            self.counts.known += 1
        else:
            prepared = model_input(tensor, self.rule, self.session.path)
            output = self._passes.submit(prepared, self._target).result()[self.manifest.score.output]
            self._rows[key] = np.array(output, np.float32)
            self.counts.forward += 1
        if logits:
            return _logits(self._rows[key], self.manifest)
        return scores.probabilities(self._rows[key], self.manifest.score)

    def close(self) -> None:
        """Close the model and all its explainers."""
        for explainer in self._explainers.values():
            explainer.close()
        self._passes.close()
        self.session.close()


class FileSubject:
    """A model under test with one method; a `case.Subject`."""

    def __init__(self, model: ModelUnderTest, method: MethodSpec) -> None:
        """Open the method on the model.

        Raises:
            UsageError: The file cannot give the method.
        """
        self._model, self._label = model, method.label
        self._explainer = model.explainer(method)
        rule = model.rule
        self.classes = model.manifest.score.classes
        self.fill: Floats = (-np.array(rule.mean, np.float32) / np.array(rule.std, np.float32)).astype(np.float32)
        self.probabilities, self.logits = model.probabilities, model.logits

    @property
    def reads_gradients(self) -> bool:
        """Whether the method reads gradients that leave the graph."""
        gradients = {layer.gradients for layer in self._model.manifest.layers}
        return any(name in gradients for name in self._explainer.raw_maps.outputs)

    def explain(self, tensor: Floats, target: int) -> Map:
        """Return the map of a class, computed once; see `case.Subject`."""
        key = (self._label, digest(tensor), target)
        if key not in self._model.maps:
            return self.explained(tensor, target)[1]
        self._model.counts.known += 1
        return self._model.maps[key]

    def explain_with_noise(self, tensor: Floats, target: int, share: float, seed: int) -> Map:
        """Return the map of a class under noise on the gradients; see `case.Subject`."""
        self._model.counts.explained += 1
        return _map(self._explainer.on_tensor(tensor, target, GradientNoise(share, seed)))

    def explained(self, tensor: Floats, target: int) -> tuple[Explanation, Map]:
        """Explain a tensor anew: all that the runtime says of it, and its map, which `explain` knows from then on."""
        self._model.counts.explained += 1
        explanation = self._explainer.on_tensor(tensor, target)
        maps = self._model.maps[self._label, digest(tensor), target] = _map(explanation)
        return explanation, maps


def digest(tensor: NDArray[Any]) -> bytes:
    """Return a hash of an array's content, to find it again by."""
    return hashlib.blake2b(np.ascontiguousarray(tensor).tobytes(), digest_size=16).digest()


def _map(explanation: Explanation) -> Map:
    """Return the first target's map; of several layers the raw map of the first, or the first that is not finite.

    Then the map, which is zero as the runtime shows it, is NaN: it is no map that shows nothing.
    """
    broken = [raw[0] for raw in explanation.raws if not np.isfinite(raw[0]).all()]
    raw = broken[0] if broken else explanation.raws[0][0] if explanation.form == "raw" else np.zeros((0, 0))
    kept = Map(np.array(raw, np.float32), np.array(explanation.tensor_map[0], np.float32))
    if broken:
        kept.map[:] = np.nan
    kept.raw.flags.writeable = kept.map.flags.writeable = False  # others read it, too
    return kept


def _checked(manifest: Manifest, path: str) -> Preprocess:
    """Return the rule of the model's input, after a check that the model can be measured."""
    rule, score = manifest.preprocess, manifest.score
    if manifest.task != "classify":
        raise UsageError(
            f"{path}: its task is {manifest.task}, a classifier is expected; see `aerocam explain` for others"
        )
    if rule is None:
        raise UsageError(f"{path}: its input is a sequence or a volume, pictures are expected")
    if rule.frame is not None:
        raise UsageError(
            f"{path}: it takes frames, metrics need to give tensors; export the model again without --frame"
        )
    if score.classes < 2:
        raise UsageError(
            f"{path}: it has one class, whose probability is the same whatever it sees; two classes or more are"
            " expected"
        )
    return rule


def _logits(output: NDArray[np.float32], manifest: Manifest) -> NDArray[np.float32]:
    """Return the scores before softmax, if that is not in the graph, or before sigmoid; float32 (classes,)."""
    score, values = manifest.score, output.reshape(-1)
    if score.activation == "none":
        return np.concatenate([-values, values]) if len(values) < score.classes else values
    return scores.logits(scores.probabilities(output, score), score.activation == "sigmoid").astype(np.float32)
