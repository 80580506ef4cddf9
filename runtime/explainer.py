"""From a frame to an explanation: preprocessing, the model, the CAM method and the scores, tied together."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam import manifest as contract
from aerocam.errors import UsageError
from aerocam.providers import Provider
from aerocam.runtime.explanation import Explanation
from aerocam.runtime.maps import saliency
from aerocam.runtime.maps.mapping import Mapper
from aerocam.runtime.maps.noise import GradientNoise, NoisyMaps
from aerocam.runtime.maps.raw_maps import raw_maps
from aerocam.runtime.maps.smoothing import MapSmoothing, check_smoothing
from aerocam.runtime.predictions.detections import Objects
from aerocam.runtime.predictions.masks import predicted_masks
from aerocam.runtime.predictions.prediction import Prediction
from aerocam.runtime.predictions.predictor import Begun, Predictor
from aerocam.runtime.predictions.targets import Targets, ranked, resolve, slots
from aerocam.runtime.sessions.opening import open_session
from aerocam.runtime.sessions.passes import passes
from aerocam.runtime.sessions.session import Session, close_behind
from aerocam.runtime.warned import Warned


class Explainer:
    """Explains what an exported model sees, frame by frame. Not for use by several threads at once."""

    def __init__(
        self,
        model: str | os.PathLike[str] | Session,
        *,
        method: str | None = None,
        options: Mapping[str, Any] | None = None,
        providers: Sequence[Provider] | None = None,
        threads: int | None = None,
        fusion: saliency.Fusion = "mean",
        top: int = 5,
        counterfactual: bool = False,
        smoothing: MapSmoothing | None = None,
    ) -> None:
        """Load the model.

        Args:
            model: A file written by `aerocam export`, or an open session (which then stays the caller's to close).
            method: CAM method, or method on the input picture; by default that of the model's fused head, or where it
                has none gradcam, for a detector hirescam, for a file made with --relevance relevance.
            options: Keyword arguments of the method, such as `steps` of integrated_gradients.
            providers: As for `open_session`; None means the CPU.
            threads: Threads inside an operator; None leaves it to ONNX Runtime.
            fusion: How the maps of several layers become one: `mean`, `max` or `product`.
            top: How many of the model's top classes to report.
            counterfactual: Whether to explain the negative of the score, what speaks against a target.
            smoothing: How the maps are smoothed; None: not.

        Raises:
            UsageError: An unknown method, option, fusion or provider, or a method that the file lacks the outputs for.
            ModelError: The file cannot be read, or does not hold what its manifest says.
        """
        saliency.check_fusion(fusion)
        self._owned = isinstance(model, (str, os.PathLike))
        opening: dict[str, Any] = {"providers": providers, "threads": threads}
        self.session: Session = open_session(model, **opening) if isinstance(model, (str, os.PathLike)) else model
        self.manifest = self.session.manifest
        if self.manifest.preprocess is None:
            path = self.session.path
            if self._owned:
                self.session.close()
            raise UsageError(
                f"{path}: its input is a sequence or a volume, frames are expected; run it with"
                " aerocam.runtime.open_session and give what it returns to a method of aerocam.runtime.CAM_METHODS"
            )
        self.fusion: saliency.Fusion = fusion
        self.smoothing = smoothing or MapSmoothing()
        eigen = {"eigen_smooth": True} if self.smoothing.eigen else {}
        self.raw_maps = raw_maps(self.manifest, method, {**(options or {}), **eigen}, counterfactual)
        check_smoothing(self.smoothing, self.raw_maps, self.manifest.preprocess)
        self.method = self.raw_maps.method
        added = (contract.CHOSEN, contract.SCORE, *self.raw_maps.outputs)
        self._passes = passes(self.session, self.manifest.own_outputs, added, opening)
        self._mapper = Mapper(self.manifest, self._passes, self.raw_maps, self.smoothing)
        self._predictor = Predictor(self.manifest, self._passes, top, self._mapper.again)
        self._resolved: tuple[Targets, NDArray[np.int32]] = (None, resolve(None, self.manifest))
        self._first = slots(self._resolved[1], self.manifest.score.targets)
        self._asked = self._first
        self._warned = Warned(self.session.path)
        self._compared = self.manifest.task != "embed"

    def __call__(self, frame: NDArray[np.uint8], target: Targets | Objects = None) -> Explanation:
        """Explain one frame.

        Args:
            frame: uint8 (H, W, 3) in BGR, as OpenCV reads it; for a model that takes GRAY also (H, W). It is kept in
                the explanation, not copied.
            target: What to explain: None for the model's own top choice, the index or the label of a class, or for a
                detector (class, anchor), each of which may be None; a list of these for several maps. To classify,
                -2 is the second best class, and so on. `Objects`: what a detector finds; the model's own top choice
                where that is nothing, with a warning.

        Returns:
            The explanation; its normalised map and overlay are computed when they are asked for.

        Raises:
            UsageError: A frame or a target that the model cannot take.
            ModelError: The engine failed.
        """
        return self.explain(self.begin(frame, target).finish(), target)

    def on_tensor(
        self, tensor: NDArray[np.float32], target: Targets = None, noise: GradientNoise | None = None
    ) -> Explanation:
        """Explain an input tensor (1, C, H, W), its picture as the frame, of no stream; `noise` goes to gradients.

        Raises:
            UsageError: A tensor or a target that the model cannot take, or noise for a method without gradients.
            ModelError: The engine failed.
        """
        rows, maps = self.resolve(target), self.raw_maps
        if noise is not None:
            maps = NoisyMaps(maps, self.manifest, noise, self.session.path)
        mapper = replace(self._mapper, raw_maps=maps, streaming=False)
        first = (self._asked if self._known(rows) else self._first)[0]
        return self._explain(self._predictor.begin_tensor(tensor, first, self.session.path).finish(), rows, mapper)

    def begin(self, frame: NDArray[np.uint8], target: Targets | Objects = None) -> Begun:
        """Give a frame to the model; `finish` of what is returned waits for what the model says of it.

        Where `looks_ahead` says so, the next frame may be begun before this one, finished, is explained. Arguments and
        errors are those of a call. Do not overwrite the frame before it is explained; another target costs a run,
        and is refused once the next frame is begun.
        """
        self.check(target)
        known = not isinstance(target, Objects) and self._known(self.resolve(target))
        return self._predictor.begin(frame, (self._asked if known else self._first)[0])

    def looks_ahead(self, target: Targets | Objects) -> bool:
        """Whether the next frame may be begun before one is explained: its explanation needs no other run.

        Raises:
            UsageError: A target that the model does not have.
        """
        if isinstance(target, Objects) or not self._passes.ahead:
            return False
        return self._known(self.resolve(target)) and len(self._asked) == 1 and not self._mapper.again

    def predict(self, frame: NDArray[np.uint8]) -> Prediction:
        """What the model says of one frame; `explain` says why, if asked before the next frame.

        Args:
            frame: As for a call of the explainer. Do not overwrite it before it is explained: a model that takes frames
                as they are may read it again.

        Raises:
            UsageError: A frame that the model cannot take.
            ModelError: The engine failed.
        """
        return self._predictor.begin(frame, self._first[0]).finish()

    def explain(self, prediction: Prediction, target: Targets | Objects = None) -> Explanation:
        """Why the model says so of the frame that it saw last.

        Args:
            prediction: What `predict` gave for it.
            target: As for a call of the explainer.

        Raises:
            UsageError: The model has seen another frame since, or a target that it cannot take.
            ModelError: The engine failed.
        """
        last = self._predictor.seen if self.looks_ahead(target) else self._predictor.begun
        if prediction.number != last:
            raise UsageError(
                f"prediction: it is of frame {prediction.number}, the model has seen frame {last} since;"
                " explain a frame before the next one is predicted"
            )
        if not isinstance(target, Objects):
            return self._explain(prediction, self.resolve(target))
        found = target.find(prediction.outputs, self.manifest, prediction.placement)
        explanation = self._explain(prediction, self.resolve([(one.index, one.anchor) for one in found] or None))
        if not found:
            explanation.warnings.append(f"no object found above {target.confidence:g}; this is the model's best guess")
        return explanation

    def embed(self, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
        """An embedding network's output for a frame, float32 (numbers,); a copy.

        Raises:
            UsageError: The model is no embedding network, or cannot take the frame.
        """
        if self.manifest.task != "embed":
            raise UsageError(
                f"{self.session.path}: its task is {self.manifest.task}, a reference needs embed; export the model with"
                " --task embed"
            )
        return self.predict(frame).probabilities.copy()

    def compare_with(self, reference: NDArray[Any]) -> None:
        """Explain from now on why a frame is like this one: the score is the cosine of the two embeddings.

        Args:
            reference: A frame, as for a call of the explainer, or an embedding, float (numbers,).

        Raises:
            UsageError: As `embed`, or an embedding of another length.
        """
        vector = self.embed(reference) if reference.dtype == np.uint8 else np.asarray(reference, np.float32)
        score = self.manifest.score
        if self.manifest.task != "embed" or vector.shape != (score.classes,):
            raise UsageError(
                f"reference: got {vector.shape} for task {self.manifest.task}, an embedding of shape ({score.classes},)"
                " of a network exported with --task embed is expected"
            )
        self._passes.fix(contract.REFERENCE, np.tile(vector, (score.targets, 1)))
        self._compared = True

    def resolve(self, target: Targets) -> NDArray[np.int32]:
        """Targets as numbers, int32 (n, 1) or (n, 2); see `targets.resolve`. Worked out anew only when they change.

        Raises:
            UsageError: The model has no such class or anchor.
        """
        if target != self._resolved[0]:
            kept = list(target) if isinstance(target, list) else target  # the caller may change its list
            self._resolved = (kept, resolve(target, self.manifest))
            self._asked = slots(self._resolved[1], self.manifest.score.targets)
        return self._resolved[1]

    def check(self, target: Targets | Objects) -> None:
        """Make sure that the model has such targets.

        Raises:
            UsageError: It has not.
        """
        if isinstance(target, Objects):
            target.check(self.manifest)
        else:
            self.resolve(target)

    def _known(self, rows: NDArray[np.int32]) -> bool:
        """Whether the model can be told these targets before it has seen the frame."""
        return self.manifest.score.targets > 1 or bool(rows.min() >= -1)

    def _explain(self, prediction: Prediction, rows: NDArray[np.int32], mapper: Mapper | None = None) -> Explanation:
        """The maps of these targets."""
        if not self._compared:
            raise UsageError(
                f"{self.session.path}: there is no reference that the embedding is compared with; give one:"
                " compare_with(FRAME), or --reference PICTURE"
            )
        asked = self._asked if self._known(rows) else slots(ranked(rows, prediction.probabilities), 1)
        found = (mapper or self._mapper)(prediction, asked, len(rows))
        explanation = Explanation(
            frame=prediction.frame,
            raws=found.raws,
            placement=prediction.placement,
            targets=found.targets,
            classes=prediction.classes,
            method=self.method,
            layers=self.raw_maps.layers,
            normalisation=self.raw_maps.normalisation,
            fusion=self.fusion,
            gaussian=self.smoothing.gaussian,
            augmented=found.augmented,
            form=self.raw_maps.form,
            drawn=found.drawn,
            predicted=predicted_masks(prediction, self.manifest, found.targets),
            timings=dict(prediction.timings) | {"explain": found.explain, "cam": found.cam},
        )
        explanation.warnings = self._warned(explanation)
        return explanation

    def close(self) -> None:
        """Give back the model's memory, unless the session was handed in open."""
        try:
            self._passes.close()
        finally:
            if self._owned:
                self.session.close()

    def __enter__(self) -> Explainer:
        """The explainer itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the session, unless it was handed in open."""
        close_behind(self.close, error)
