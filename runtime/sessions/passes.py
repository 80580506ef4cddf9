"""Passes: how a model is run on a frame and on its targets, all in one file, or forward and explanation in two."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from aerocam import manifest as contract
from aerocam.errors import ModelError, UsageError, did_you_mean
from aerocam.files import beside
from aerocam.runtime.frames.inputs import in_type
from aerocam.runtime.sessions.fitting import image_input, require, require_fitting
from aerocam.runtime.sessions.opening import open_session
from aerocam.runtime.sessions.session import Arrays, Run, Session


class Passes(Protocol):
    """Runs a model on one frame after the other, and explains targets of the frame that it saw last.

    Attributes:
        ahead: Whether a frame may be submitted before the one before is explained, for the targets given with it.
    """

    ahead: bool

    def submit(self, tensor: NDArray[Any], targets: NDArray[np.int32]) -> Run[Arrays]:
        """Let the model see a frame.

        Args:
            tensor: The model's input; it stays as it is until the next frame.
            targets: What will be explained first, as the model's run-time input; -1 where nothing is known yet.

        Returns:
            A run with the model's own outputs that were asked for. The frame counts as seen once the run's result was
            asked for; the next call may overwrite its arrays.
        """

    def explain(self, targets: NDArray[np.int32]) -> Arrays:
        """Return what explains these targets, by name; the next call may overwrite the arrays."""

    def fix(self, name: str, array: NDArray[Any]) -> None:
        """Set an input of what explains that stays from frame to frame."""

    def require_fed(self) -> None:
        """Make sure that every input beside the picture is given.

        Raises:
            UsageError: One is not.
        """
        ...

    def again(self, tensor: NDArray[Any], targets: NDArray[np.int32], outputs: Sequence[str]) -> Arrays:
        """Return what explains these targets on another tensor; what is known of the frame stays as it is."""

    def tail_scores(self, activations: NDArray[np.float32], targets: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return the scores of these targets, (n, targets), at other activations (n, C, h, w) of the layer."""

    def close(self) -> None:
        """Give back what was opened here."""


def passes(
    session: Session,
    own: Sequence[str],
    added: Sequence[str],
    options: dict[str, Any],
    feeds: Mapping[str, Any] | None = None,
) -> Passes:
    """Return the way to run an exported model.

    Args:
        session: Of the file that runs on every frame.
        own: Names of the model's own outputs that are wanted.
        added: Names of what explains.
        options: For `open_session`, where the explaining half is a file of its own.
        feeds: What inputs beside the picture get on every run, an array or a number each.

    Raises:
        UsageError: The session is that of the explaining half, or `feeds` are not the model's further inputs.
        ModelError: An input or output that the manifest names is absent, or the two halves are not of one export.
    """
    require_fitting(session)
    kind = FusedPasses if session.manifest.split is None else SplitPasses
    return kind(session, tuple(own), tuple(added), options, feeds or {})


class FusedPasses:
    """Runs a model of one file: the gradients come with every run."""

    def __init__(
        self,
        session: Session,
        own: tuple[str, ...],
        added: tuple[str, ...],
        options: dict[str, Any],
        feeds: Mapping[str, Any],
    ) -> None:
        """Prepare for frames; see `passes`."""
        self._session, self._names = session, (*own, *added)
        self.ahead = session.depth > 1
        self._input, self._type = _image_input(session), _image_type(session)
        require(session, (self._input, contract.TARGET), self._names)
        self._fixed = _fixed(session, feeds)
        self._tensor: NDArray[Any] | None = None
        self._targets: NDArray[np.int32] | None = None
        self._outputs: Arrays = {}
        self._submitted = self._seen = 0

    def submit(self, tensor: NDArray[Any], targets: NDArray[np.int32]) -> Run[Arrays]:
        """Submit one run, for these targets; see `Passes`."""
        self._submitted += 1
        number = self._submitted

        def see(outputs: Arrays) -> Arrays:
            self._tensor, self._targets, self._outputs, self._seen = tensor, targets, outputs, number
            return outputs

        feeds = {self._input: in_type(tensor, self._type), contract.TARGET: targets, **self._fixed}
        return self._session.submit(feeds, self._names).then(see)

    def explain(self, targets: NDArray[np.int32]) -> Arrays:
        """Return what explains these targets; nothing is run for those of the run before. See `Passes`.

        Raises:
            UsageError: Frames were submitted since, so that its tensor, or its outputs, are overwritten.
        """
        known = self._targets is not None and (targets is self._targets or np.array_equal(targets, self._targets))
        since = self._submitted - self._seen
        if since >= self._session.depth or (since and not known):
            raise UsageError(
                f"{self._session.path}: {since} more frames were submitted since this one was seen; explain it for the"
                " targets that it was submitted with, before the frame after the next is submitted"
            )
        if not known:
            assert self._tensor is not None
            self.submit(self._tensor, targets).result()
        return self._outputs

    def fix(self, name: str, array: NDArray[Any]) -> None:
        """Set an input that stays; what was explained before no longer holds. See `Passes`."""
        self._fixed[name], self._targets = array, None

    def require_fed(self) -> None:
        """Make sure that every input beside the picture is given; see `Passes`."""
        _require_fed(self._session, self._fixed)

    def again(self, tensor: NDArray[Any], targets: NDArray[np.int32], outputs: Sequence[str]) -> Arrays:
        """Run the file on another tensor; see `Passes`."""
        feeds = {self._input: in_type(tensor, self._type), contract.TARGET: targets, **self._fixed}
        return self._session.run(feeds, outputs)

    def tail_scores(self, activations: NDArray[np.float32], targets: NDArray[np.int32]) -> NDArray[np.float32]:
        """Raise UsageError: such a file has no tail; `FromForward` says so before."""
        raise UsageError(
            f"{self._session.path}: it has no tail; export the model again with `packaging='split'`, `batch=32`"
        )

    def close(self) -> None:
        """Do nothing: nothing was opened here."""


class SplitPasses:
    """Runs a model of two files: one on every frame, the other on what is asked, opened when it is first needed."""

    ahead = False

    def __init__(
        self,
        session: Session,
        own: tuple[str, ...],
        added: tuple[str, ...],
        options: dict[str, Any],
        feeds: Mapping[str, Any],
    ) -> None:
        """Prepare for frames; see `passes`."""
        assert session.manifest.split is not None
        self._split = split = session.manifest.split
        self._path = str(beside(session.path, split.explain))
        if os.path.basename(session.path) in (split.explain, split.tail):
            raise UsageError(f"{session.path}: it explains only; give the file beside it that runs on every frame")
        self._session, self._options = session, options
        self._input, self._type = _image_input(session), _image_type(session)
        self._fixed = _fixed(session, feeds)
        own_inputs = {spec.name for spec in session.inputs}
        self._carried = tuple(name for name in split.carried if name not in own_inputs)
        self._takes_image = self._input in split.carried
        self._own = tuple(dict.fromkeys((*own, *self._carried)))
        self._copied = False
        self._added = tuple(name for name in added if name not in self._own)
        require(session, (self._input,), self._own)
        self._half: Session | None = None
        self._tail: Session | None = None
        self._feeds: Arrays = {}

    def submit(self, tensor: NDArray[Any], targets: NDArray[np.int32]) -> Run[Arrays]:
        """Submit a run of the forward file alone; see `Passes`."""
        tensor = in_type(tensor, self._type)

        def see(outputs: Arrays) -> Arrays:
            self._feeds, self._copied = {name: outputs[name] for name in self._carried}, False
            if self._takes_image:
                self._feeds[self._input] = tensor
            return outputs

        return self._session.submit({self._input: tensor, **_taken(self._session, self._fixed)}, self._own).then(see)

    def explain(self, targets: NDArray[np.int32]) -> Arrays:
        """Run the explaining file alone; see `Passes`."""
        half = self._half = self._half or self._open()
        feeds = {**self._feeds, contract.TARGET: targets, **_taken(half, self._fixed)}
        explaining = half.run(feeds, self._added)
        return {**self._feeds, **explaining}

    def fix(self, name: str, array: NDArray[Any]) -> None:
        """Set an input that stays; see `Passes`."""
        self._fixed[name] = array

    def require_fed(self) -> None:
        """Make sure that every input beside the picture is given; see `Passes`."""
        _require_fed(self._session, self._fixed)

    def again(self, tensor: NDArray[Any], targets: NDArray[np.int32], outputs: Sequence[str]) -> Arrays:
        """Run both files; see `Passes`."""
        half = self._half = self._half or self._open()
        feeds: Arrays = {contract.TARGET: targets, **_taken(half, self._fixed)}
        tensor = in_type(tensor, self._type)
        if not self._copied:  # a session may overwrite what it gave, whatever it is asked for
            self._feeds |= {name: self._feeds[name].copy() for name in self._carried}
            self._copied = True
        if self._carried:
            feeds |= self._session.run({self._input: tensor, **_taken(self._session, self._fixed)}, self._carried)
        if self._takes_image:
            feeds[self._input] = tensor
        missing = [name for name in outputs if name not in feeds]
        return {**feeds, **(half.run(feeds, missing) if missing else {})}

    def tail_scores(self, activations: NDArray[np.float32], targets: NDArray[np.int32]) -> NDArray[np.float32]:
        """Run the tail's file on so many activations at a time as it takes; see `Passes`."""
        tail = self._tail = self._tail or self._open_tail()
        taken, batch = {spec.name: spec.dtype for spec in tail.inputs}, self._split.batch
        feeds = {name: array for name, array in self._feeds.items() if name in taken} | _taken(tail, self._fixed)
        scores = []
        for start in range(0, len(activations), batch):
            part = activations[start : start + batch]
            short = batch - len(part)
            full = np.concatenate([part, np.repeat(part[-1:], short, axis=0)]) if short else part
            feeds |= {contract.TARGET: targets, contract.BATCH: full.astype(taken[contract.BATCH], copy=False)}
            scores.append(tail.run(feeds, (contract.SCORES,))[contract.SCORES][: len(part)].copy())
        return np.concatenate(scores)

    def close(self) -> None:
        """Close the other halves."""
        with ExitStack() as closing:
            for half in (self._half, self._tail):
                if half is not None:
                    closing.callback(half.close)

    def _open(self) -> Session:
        return self._opened(self._path, (contract.TARGET, *self._feeds), self._added)

    def _open_tail(self) -> Session:
        assert self._split.tail is not None  # or `FromForward` would have refused
        return self._opened(
            str(beside(self._path, self._split.tail)), (contract.TARGET, contract.BATCH), (contract.SCORES,)
        )

    def _opened(self, path: str, inputs: Sequence[str], outputs: Sequence[str]) -> Session:
        half = open_session(path, **self._options)
        if half.manifest != self._session.manifest:
            half.close()
            raise ModelError(
                f"{path}: it is of another export than {self._session.path}; export the model again, its files are"
                " written together"
            )
        require(half, inputs, outputs)
        return half


def _require_fed(session: Session, fixed: Arrays) -> None:
    """Raise UsageError for a further input that is not given."""
    for spec in session.inputs:
        if spec.name not in (_image_input(session), contract.TARGET, *fixed):
            raise UsageError(
                f"{session.path}: it has a further input {spec.name!r}, {spec}; give it with `feeds`, or export the"
                " model again with its value, by `fix`"
            )


def _fixed(session: Session, feeds: Mapping[str, Any]) -> Arrays:
    """Return the inputs that stay from frame to frame: what is given, and of aerocam's own the first values.

    An embedding's reference is zeros at first, the region of a dense output everything.

    Raises:
        UsageError: What is given is no further input of the model, or has another shape.
    """
    own = {_image_input(session), contract.TARGET, contract.REFERENCE, contract.REGION}
    further = {spec.name: spec for spec in session.inputs if spec.name not in own}
    for name in feeds:
        if name not in further:
            raise UsageError(f"`feeds`: {name!r}: no such further input. {did_you_mean(name, further)}")
    fixed: Arrays = {}
    for name, spec in further.items():
        if name not in feeds:
            continue  # `require_fed` tells of it, once it is to be run
        value = np.asarray(feeds[name])
        if value.ndim and value.shape != spec.shape:
            raise UsageError(f"`feeds`: got {value.shape} for the input {name!r}, expected {spec}")
        fixed[name] = np.broadcast_to(value, spec.shape).astype(spec.dtype, order="C")  # type: ignore[arg-type]
    score = session.manifest.score
    if session.manifest.task == "embed":
        fixed[contract.REFERENCE] = np.zeros((score.targets, score.classes), np.float32)
    if score.positions is not None:
        fixed[contract.REGION] = np.ones((score.targets, *score.positions), np.float32)
    return fixed


def _taken(session: Session, arrays: Arrays) -> Arrays:
    """Return those of the arrays that one of several files takes."""
    return {spec.name: arrays[spec.name] for spec in session.inputs if spec.name in arrays}


def _image_type(session: Session) -> np.dtype[Any]:
    """Return the type of the image input; of a file without it, an explaining half, any."""
    name = _image_input(session)
    return next((spec.dtype for spec in session.inputs if spec.name == name), np.dtype(np.float32))


def _image_input(session: Session) -> str:
    rule = session.manifest.preprocess
    assert rule is not None  # or there would be no explainer
    return image_input(rule)
