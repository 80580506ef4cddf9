"""A session: a model, loaded and ready to run, whichever engine runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import EngineError, UsageError, did_you_mean
from aerocam.manifest import Manifest

Arrays = dict[str, NDArray[Any]]

Result = TypeVar("Result")
Made = TypeVar("Made")
Opened = TypeVar("Opened", bound="Closing")


@dataclass(frozen=True)
class TensorSpec:
    """Describes an input or output of a model.

    Attributes:
        name: Its name in the model.
        shape: Its dimensions; one that is not fixed is a name or None.
        dtype: Its element type.
    """

    name: str
    shape: tuple[int | str | None, ...]
    dtype: np.dtype[Any]

    @property
    def fixed(self) -> bool:
        """Say whether every array has this one shape, and is of numbers."""
        return self.dtype != np.object_ and all(isinstance(size, int) for size in self.shape)

    def takes(self, array: NDArray[Any]) -> bool:
        """Say whether `array` has this type and, where dimensions are fixed, this shape."""
        return (
            array.dtype == self.dtype
            and len(array.shape) == len(self.shape)
            and all(want == got or not isinstance(want, int) for want, got in zip(self.shape, array.shape, strict=True))
        )

    def __str__(self) -> str:
        """Return type and shape, as error messages show them."""
        return f"{self.dtype} ({', '.join('?' if size is None else str(size) for size in self.shape)})"


class Run(Generic[Result]):
    """Stands for a run of a model that was submitted; `result` waits for it.

    That of a session has the model's outputs. `then` gives one whose result is made of them.
    """

    def __init__(self, wait: Callable[[], Result]) -> None:
        """Take the function that waits for the run and returns its result; it is called once."""
        self._wait: Callable[[], Result] | None = wait

    def result(self) -> Result:
        """Wait for the run and return its result, the same one each time.

        The `depth`-th run that is submitted to the session after this one may overwrite its arrays.

        Raises:
            ModelError: The engine failed.
        """
        if self._wait is not None:
            self._result, self._wait = self._wait(), None
        return self._result

    def then(self, make: Callable[[Result], Made]) -> Run[Made]:
        """Return a run whose result is what `make` returns for the result of this one."""
        return Run(lambda: make(self.result()))


class Closing:
    """Is closed at the end of a `with` block."""

    def close(self) -> None:
        """Give back what was opened."""
        raise NotImplementedError

    def __enter__(self: Opened) -> Opened:
        """Return the object itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, at: object) -> None:
        """Close it. Behind a failed run everything fails: the block's own error is the one to tell."""
        try:
            self.close()
        except EngineError:
            if kind is None:
                raise


class Session(AbstractContextManager["Session"], Protocol):
    """Runs a model that is loaded. For the thread that made it alone.

    Example:
        >>> import numpy as np
        >>> from aerocam.runtime import open_session
        >>> with open_session("model.cam.onnx") as session:
        ...     feeds = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in session.inputs}
        ...     run = session.submit(feeds, ["logits"])
        ...     logits = run.result()["logits"]
        >>> logits.shape
        (1, 4)

    Attributes:
        path: The file.
        manifest: What it says of itself.
        inputs: What it takes.
        outputs: What it gives.
        depth: How many runs may be under way at once. 1: a run has ended when `submit` returns.
    """

    path: str
    manifest: Manifest
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    depth: int

    def submit(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None) -> Run[Arrays]:
        """Begin a run. The arrays given may be overwritten once this returns.

        Args:
            feeds: One array per input, of its type and shape.
            outputs: Names of the outputs wanted; None means all.

        Raises:
            UsageError: A feed is missing, unknown, or of another type or shape; or `depth` runs are under way.
            ModelError: The engine failed.
        """

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None) -> Arrays:
        """Run the model once.

        Args:
            feeds: One array per input, of its type and shape.
            outputs: Names of the outputs wanted; None means all.

        Returns:
            One array per output asked for. The next run may overwrite them: copy what you keep.

        Raises:
            UsageError: A feed is missing, unknown, or of another type or shape.
            ModelError: The engine failed.
        """

    def close(self) -> None:
        """Give back the memory; the session cannot run any more."""


def check_feeds(feeds: Mapping[str, NDArray[Any]], inputs: Sequence[TensorSpec]) -> None:
    """Make sure that `feeds` has what a model takes, before an engine says so in its own words.

    Raises:
        UsageError: A feed is missing, unknown, or of another type or shape.
    """
    for spec in inputs:
        if spec.name not in feeds:
            raise UsageError(f"input '{spec.name}': nothing was given, expected {spec}")
        array = feeds[spec.name]
        if not spec.takes(array):
            raise UsageError(f"input '{spec.name}': got {array.dtype} {array.shape}, expected {spec}")
    if len(feeds) > len(inputs):
        names = [spec.name for spec in inputs]
        unknown = next(name for name in feeds if name not in names)
        raise UsageError(f"input '{unknown}': the model has no such input. {did_you_mean(unknown, names)}")


def check_outputs(names: Sequence[str], outputs: Sequence[TensorSpec]) -> None:
    """Make sure that a model has the outputs asked for.

    Raises:
        UsageError: The model lacks one of them.
    """
    names_known = [spec.name for spec in outputs]
    for name in names:
        if name not in names_known:
            raise UsageError(f"output '{name}': the model has no such output. {did_you_mean(name, names_known)}")
