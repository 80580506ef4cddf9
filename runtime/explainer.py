"""From a frame to an explanation: preprocessing, the model, the CAM method and the scores, tied together."""

from __future__ import annotations

import functools
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from aerocam import manifest as contract
from aerocam.errors import UsageError
from aerocam.providers import Provider
from aerocam.runtime.explanation import Explanation, Held
from aerocam.runtime.maps import saliency
from aerocam.runtime.maps.mapping import Mapper, Maps, Recipe
from aerocam.runtime.maps.noise import GradientNoise, NoisyMaps
from aerocam.runtime.maps.raw_maps import raw_maps
from aerocam.runtime.maps.smoothing import MapSmoothing, check_smoothing
from aerocam.runtime.predictions.detections import Objects
from aerocam.runtime.predictions.explained import found_targets, predicted_masks, seen_targets
from aerocam.runtime.predictions.prediction import Prediction, Predictor
from aerocam.runtime.predictions.region import RegionLike, RegionOfInterest
from aerocam.runtime.predictions.targets import ResolvedTargets, Target, Targets, as_list, ranked
from aerocam.runtime.sessions.opening import open_session
from aerocam.runtime.sessions.passes import passes
from aerocam.runtime.sessions.session import Closing, Run, Session

logger = logging.getLogger(__name__)


Args = ParamSpec("Args")
Returned = TypeVar("Returned")


def _alone(
    method: Callable[Concatenate[Explainer, Args], Returned],
) -> Callable[Concatenate[Explainer, Args], Returned]:
    """Refuse a call while another thread is in one of the explainer's methods: both would read what the other ran."""

    @functools.wraps(method)
    def alone(self: Explainer, *args: Args.args, **options: Args.kwargs) -> Returned:
        if not self._busy.acquire(blocking=False):
            raise UsageError(f"{self.session.path}: another thread uses this Explainer now; open one for each thread")
        try:
            return method(self, *args, **options)
        finally:
            self._busy.release()

    return alone


class Explainer(Closing):
    """Explains what an exported model sees, frame by frame. A thread that calls it while another is in it is refused.

    Example:
        >>> from aerocam.runtime import Explainer, read_picture
        >>> frame = read_picture("photo.png")
        >>> with Explainer("model.cam.onnx") as explainer:
        ...     best = explainer(frame)
        ...     several = explainer(frame, ["red", "green"])
        >>> best.target.label, [target.index for target in several.targets]
        ('red', [0, 1])

    Attributes:
        session: The model, open.
        manifest: What its file says of it.
        raw_maps: The way from its outputs to raw maps.
        smoothing: How maps are smoothed.
        recipe: How maps are made, as explanations keep it.
        method: Name of the CAM method.
        fusion: How the maps of several layers become one.
    """

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
        feeds: Mapping[str, Any] | None = None,
    ) -> None:
        """Load the model.

        Args:
            model: A file written by `aerocam export`, or an open session (which then stays the caller's to close).
            method: CAM method, or method on the input picture; by default that of the model's fused head, or where it
                has none gradcam, for a detector or a dense output hirescam, for a file made with `relevance=True`
                relevance.
            options: Keyword arguments of the method, such as `steps` of integrated_gradients.
            providers: As for `open_session`; None means the CPU.
            threads: Threads inside an operator; None leaves it to ONNX Runtime.
            fusion: How the maps of several layers become one: `mean`, `max` or `product`.
            top: How many of the model's top classes to report.
            counterfactual: Whether to explain the negative of the score, what speaks against a target.
            smoothing: How the maps are smoothed; None: not.
            feeds: What inputs beside the picture get on every run, by name: an array, or a number for all of it.

        Raises:
            UsageError: An unknown method, option, fusion or provider, a method that the file lacks the outputs for, or
                `feeds` that are not the model's further inputs.
            ModelError: The file cannot be read, or does not hold what its manifest says.
        """
        saliency.check_fusion(fusion)
        self._busy = threading.RLock()
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
        self.smoothing = smoothing or MapSmoothing()
        eigen = {"eigen_smooth": True} if self.smoothing.eigen else {}
        self.raw_maps = raw_maps(self.manifest, method, {**(options or {}), **eigen}, counterfactual)
        check_smoothing(self.smoothing, self.raw_maps, self.manifest.preprocess)
        way, gaussian = self.raw_maps, self.smoothing.gaussian
        self.recipe = Recipe(way.method, way.layers, way.normalisation, fusion, gaussian, way.form)
        self.method, self.fusion = way.method, fusion
        added = (contract.CHOSEN, contract.SCORE, *way.outputs)
        self._passes = passes(self.session, self.manifest.own_outputs, added, opening, feeds)
        self._mapper = Mapper(self.manifest, self._passes, self.raw_maps, self.smoothing)
        self._predictor = Predictor(self.manifest, self._passes, top, self._mapper.again)
        self._own_choice = self._resolved = ResolvedTargets.of(None, self.manifest)
        self._reference: NDArray[np.float32] | None = None
        self._warnings_logged: set[str] = set()

    @_alone
    def __call__(self, frame: NDArray[Any], target: Targets | Objects = None) -> Explanation:
        """Explain one frame.

        Args:
            frame: uint8 (H, W, 3) in BGR, as OpenCV reads it; for a model that takes GRAY also (H, W), for one that
                takes bands (H, W, C); uint16 and floats as `Preprocess.units` says. It is kept in the explanation, not
                copied.
            target: What to explain: None for the model's own top choice, the index or the label of a class, or for a
                detector (class, anchor), each of which may be None; a list of these, or an array of integers, for
                several maps. To classify, -2 is the second best class, and so on. `Objects`: what a detector finds;
                the model's own top choice where that is nothing, with a warning.

        Returns:
            The explanation; its normalised map and overlay are computed when they are asked for.

        Raises:
            UsageError: A frame or a target that the model cannot take.
            ModelError: The engine failed.
        """
        return self.explain(self.submit(frame, target).result(), target)

    @_alone
    def on_tensor(
        self, tensor: NDArray[np.float32], target: Targets = None, noise: GradientNoise | None = None
    ) -> Explanation:
        """Explain an input tensor (1, C, H, W), its picture as the frame, of no stream; `noise` goes to gradients.

        Raises:
            UsageError: A tensor or a target that the model cannot take, or noise for a method without gradients.
            ModelError: The engine failed.
        """
        targets, maps = self._resolve(target), self.raw_maps
        if noise is not None:
            maps = NoisyMaps(maps, self.manifest, noise, self.session.path)
        mapper = replace(self._mapper, raw_maps=maps, streaming=False)
        run = self._predictor.submit_tensor(tensor, self._first_slot(target), self.session.path)
        return self._explain(run.result(), targets, mapper)

    @_alone
    def submit(self, frame: NDArray[Any], target: Targets | Objects = None) -> Run[Prediction]:
        """Give a frame to the model; `result` of the run that is returned waits for what the model says of it.

        Where `looks_ahead` says so, the next frame may be submitted before this one, whose result is known, is
        explained. Arguments and errors are those of a call. Do not overwrite the frame before it is explained; another
        target costs a run, and is refused once the next frame is submitted.
        """
        self.check(target)
        run = self._predictor.submit(frame, self._first_slot(target))
        return Run(functools.partial(self._result, run))

    @_alone
    def _result(self, run: Run[Prediction]) -> Prediction:
        return run.result()

    def looks_ahead(self, target: Targets | Objects) -> bool:
        """Say whether the next frame may be submitted before one is explained: no other run is needed to explain it.

        Raises:
            UsageError: A target that the model does not have.
        """
        if isinstance(target, Objects) or not self._passes.ahead:
            return False
        targets = self._resolve(target)
        return targets.known and len(targets.slots) == 1 and not self._mapper.again

    @_alone
    def predict(self, frame: NDArray[Any]) -> Prediction:
        """Return what the model says of one frame; `explain` says why, if asked before the next frame.

        Args:
            frame: As for a call of the explainer. Do not overwrite it before it is explained: a model that takes frames
                as they are may read it again.

        Raises:
            UsageError: A frame that the model cannot take.
            ModelError: The engine failed.
        """
        return self._predictor.submit(frame, self._own_choice.slots[0]).result()

    @_alone
    def explain(self, prediction: Prediction, target: Targets | Objects = None) -> Explanation:
        """Explain why the model says so of the frame that it saw last.

        Args:
            prediction: What `predict` gave for it.
            target: As for a call of the explainer.

        Raises:
            UsageError: The model has seen another frame since, or a target that it cannot take.
            ModelError: The engine failed.
        """
        last = self._predictor.seen if self.looks_ahead(target) else self._predictor.submitted
        if prediction.number != last:
            raise UsageError(
                f"prediction: it is of frame {prediction.number}, the model has seen frame {last} since;"
                " explain a frame before the next one is predicted"
            )
        if prediction.tensor is None:
            raise UsageError("prediction: it is that of an explanation, without the model's outputs; predict it anew")
        if not isinstance(target, Objects):
            return self._explain(prediction, self._resolve(target))
        objects = target.find(prediction.outputs, self.manifest, prediction.placement)
        if not objects and not target.guess:
            return self.nothing(prediction)
        explanation = self._explain(prediction, self._resolve([(one.index, one.anchor) for one in objects] or None))
        if not objects:
            which = "object" if target.number is None else f"object number {target.number}"
            explanation.warnings.append(f"no {which} found above {target.confidence:g}; this is the model's best guess")
        return explanation

    def hold(self, prediction: Prediction, last: Explanation, target: Targets | Objects = None) -> Explanation:
        """Return the maps of an earlier frame over one that the model only looks at, with the frame's own targets.

        Args:
            prediction: What the model says of the frame, as for `explain`.
            last: The explanation of the earlier frame.
            target: As for a call of the explainer.

        Raises:
            UsageError: A target that the model cannot take.
        """
        targets: list[Target] = []
        if isinstance(target, Objects):
            targets = found_targets(target.find(prediction.outputs, self.manifest, prediction.placement))
        if not targets and (not isinstance(target, Objects) or target.guess):
            asked = self._own_choice if isinstance(target, Objects) else self._resolve(target)
            rows = ranked(asked.rows, prediction.probabilities)
            targets = seen_targets(prediction, self.manifest, rows, self._reference)
        held = Held(targets, predicted_masks(prediction, self.manifest, targets), not isinstance(target, Objects))
        maps = replace(last.maps, drawn=None)
        return Explanation(prediction.detached(), maps, last.recipe, prediction.timings, held=held)

    def nothing(self, prediction: Prediction) -> Explanation:
        """Return the explanation of a frame with no targets: the frame as it is, and no map."""
        return Explanation(prediction.detached(), Maps(), self.recipe, prediction.timings)

    @property
    def takes_bands(self) -> bool:
        """Whether the model takes frames of bands (H, W, C), as `read_picture` reads them with `bands`."""
        return self.manifest.preprocess is not None and self.manifest.preprocess.color == "BANDS"

    @_alone
    def embed(self, frame: NDArray[Any]) -> NDArray[np.float32]:
        """Return an embedding network's output for a frame, or a dense one's mean over the region; float32 (numbers,).

        Raises:
            UsageError: The model is no embedding network, or cannot take the frame.
        """
        if self.manifest.task != "embed":
            raise UsageError(
                f"{self.session.path}: its task is {self.manifest.task}, a reference needs embed; export the model with"
                " `task='embed'`"
            )
        return self.predict(frame).probabilities.copy()

    @_alone
    def compare_with(self, reference: NDArray[Any]) -> None:
        """Explain from now on why a frame is like this one: the score is the cosine of the two embeddings.

        Args:
            reference: A frame, as for a call of the explainer, or an embedding, float (numbers,).

        Raises:
            UsageError: As `embed`, or an embedding of another length.
        """
        embedding = isinstance(reference, np.ndarray) and reference.ndim == 1
        vector = np.asarray(reference, np.float32) if embedding else self.embed(reference)
        score = self.manifest.score
        if self.manifest.task != "embed" or vector.shape != (score.classes,):
            raise UsageError(
                f"reference: got {vector.shape} for task {self.manifest.task}, an embedding of shape ({score.classes},)"
                " of a network exported with `task='embed'` is expected"
            )
        self._passes.fix(contract.REFERENCE, np.tile(vector, (score.targets, 1)))
        self._reference = vector

    @_alone
    def look_at(self, region: RegionLike) -> None:
        """Explain from the next frame on the mean over a region of it: the numbers or features of a dense output there.

        Args:
            region: A box (x0, y0, x1, y1) or one pixel (x, y), in px of the frame; a mask (H, W) over the frame, whose
                entries are weights; None: the whole output.

        Raises:
            UsageError: The model's output has no positions; the region is none, or is empty; or altered frames are
                asked for, of which some are mirrored. A region that lies outside of what the model sees of a frame is
                refused with the frame.
        """
        score = self.manifest.score
        if region is not None and score.positions is None:
            raise UsageError(
                f"`region`: the model has task {self.manifest.task} and no numbers at positions; one exported with"
                " `task='regress'` or `task='embed'`, whose output has channels, rows and columns, is expected"
            )
        if region is not None and self.smoothing.augmented:
            raise UsageError("`region`: mirrored frames would be looked at elsewhere; take it without `augmented`")
        self._predictor.region = RegionOfInterest.of(region)

    def resolve(self, target: Targets) -> NDArray[np.int32]:
        """Return targets as numbers, int32 (n, 1) or (n, 2); see `ResolvedTargets`.

        Raises:
            UsageError: The model has no such class or anchor.
        """
        return self._resolve(target).rows

    def check(self, target: Targets | Objects) -> None:
        """Make sure that the model has such targets, and that all its inputs are given.

        Raises:
            UsageError: A class, an anchor or boxes that it does not have, or an input beside the picture is missing.
        """
        self._passes.require_fed()
        if isinstance(target, Objects):
            target.check(self.manifest)
        else:
            self._resolve(target)

    def _resolve(self, target: Targets) -> ResolvedTargets:
        """Resolve targets, anew only when they change."""
        if as_list(target) != self._resolved.given:
            self._resolved = ResolvedTargets.of(target, self.manifest)
        return self._resolved

    def _first_slot(self, target: Targets | Objects) -> NDArray[np.int32]:
        """Return what the model is told before it sees the frame: the first targets, if they are known by then."""
        targets = self._own_choice if isinstance(target, Objects) else self._resolve(target)
        return (targets if targets.known else self._own_choice).slots[0]

    def _explain(self, prediction: Prediction, targets: ResolvedTargets, mapper: Mapper | None = None) -> Explanation:
        """Return the explanation of these targets; what is wrong with it is logged the first time."""
        if self.manifest.task == "embed" and self._reference is None:
            raise UsageError(
                f"{self.session.path}: there is no reference that the embedding is compared with; give one, the"
                " `reference` of Explainer.compare_with"
            )
        maps = (mapper or self._mapper)(prediction, targets.slots_for(prediction.probabilities), len(targets.rows))
        warnings = maps.problems(self.recipe)
        for text in warnings:
            logged = text in self._warnings_logged
            logger.log(logging.DEBUG if logged else logging.WARNING, "%s: %s", self.session.path, text)
        self._warnings_logged.update(warnings)
        return Explanation(prediction.detached(), maps, self.recipe, prediction.timings | maps.timings, warnings)

    @_alone
    def close(self) -> None:
        """Give back the model's memory, unless the session was handed in open."""
        try:
            self._passes.close()
        finally:
            if self._owned:
                self.session.close()
