"""Arguments that several commands share: how a model is read, and what it runs on."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, get_args

from aerocam.errors import UsageError
from aerocam.foreign import load_array
from aerocam.manifest import Task
from aerocam.providers import Provider, with_options

Declaration = Callable[[argparse._ActionsContainer], object]
"""Adds an argument, or a group of them, to a parser."""


def argument(*names: str, **settings: Any) -> Declaration:
    """Return what adds an argument; see argparse's `add_argument`."""
    return lambda parser: parser.add_argument(*names, **settings)


def group(title: str, *arguments: Declaration) -> Declaration:
    """Return what adds arguments under a title of their own."""
    return lambda parser: declare(parser.add_argument_group(title), arguments)


def one_of(*arguments: Declaration) -> Declaration:
    """Return what adds arguments of which one at most may be given."""
    return lambda parser: declare(parser.add_mutually_exclusive_group(), arguments)


def declare(parser: argparse._ActionsContainer, arguments: Iterable[Declaration]) -> None:
    """Add the arguments of a table to a parser."""
    for add in arguments:
        add(parser)


FIX = argument(
    "--fix",
    action="append",
    default=[],
    metavar="NAME=VALUE",
    help="make an input beside the picture a constant: a number, or an array in an .npy file; may be repeated",
)
"""What inputs become constants."""

MODEL = (
    argument("model", metavar="MODEL", help="the ONNX file"),
    argument("--task", choices=get_args(Task),
        help="what the network does; default: by the metadata, or by the form of the outputs and what they hold"),
    argument("--output-name", dest="score_output", metavar="NAME", help="the output that holds the class scores"),
    argument("--layout", metavar="NAME",
        help="of a detector's outputs, where several fit: yolov8, yolov5, yolov7, yolov10, yolox, ssd, retinanet,"
        " detr, rtdetr, nanodet, centernet, blazeface"),
    argument("--activation", metavar="NAME",
        help="how class scores become probabilities: softmax or sigmoid of them, none, or they are probabilities"),
    argument("--input-shape", dest="input_shapes", action="append", default=[], metavar="NAME=N,C,H,W",
        help="freeze a dynamic input; NAME= may be left out if there is one input; may be repeated"),
    FIX,
)  # fmt: skip
"""The model, and what says how to read it."""


MAX_PIXELS = argument("--max-pixels", metavar="N", type=int, default=100_000_000,
    help="most pixels of a picture that is read, by the header of its file (default: 100 million)")  # fmt: skip


def parse_arrays(texts: list[str], flag: str) -> dict[str, Any]:
    """Return `NAME=NUMBER` or `NAME=FILE.npy` per text as a dictionary of numbers and arrays.

    Raises:
        UsageError: A text is not of that form, or its file cannot be read.
    """
    arrays: dict[str, Any] = {}
    for text in texts:
        name, _, value = text.rpartition("=")
        with contextlib.suppress(ValueError):
            arrays[name] = int(value) if value.lstrip("+-").isdecimal() else float(value)
            continue
        try:
            arrays[name] = load_array(value)
        except (OSError, ValueError) as error:
            raise UsageError(f"{flag} {text}: NAME=NUMBER or NAME=FILE.npy is expected ({error})") from error
    return arrays


def parse_input_shapes(texts: list[str], path: str) -> dict[str, tuple[int, ...]]:
    """Return `NAME=1,3,224,224` per text as a dictionary; a nameless shape goes to the model's only input.

    Raises:
        UsageError: A text is not of that form, or it is unclear which input it is of.
    """
    shapes = {}
    for text in texts:
        name, _, dims = text.rpartition("=")
        try:
            shape = tuple(int(dim) for dim in dims.split(","))
        except ValueError as error:
            raise UsageError(f"--input-shape {text}: whole numbers are expected, as in images=1,3,224,224") from error
        shapes[name or _only_input(path)] = shape
    return shapes


def _only_input(path: str) -> str:
    from aerocam.export.reading.onnx_file import read_model

    graph = read_model(path).proto.graph
    weights = {tensor.name for tensor in graph.initializer}
    names = [value.name for value in graph.input if value.name not in weights]
    if not names:
        raise UsageError(f"--input-shape: {path} has no inputs; give an ONNX model")
    if len(names) != 1:
        raise UsageError(
            f"--input-shape: the model has inputs {', '.join(names)}; say which, as in {names[0]}=1,3,224,224"
        )
    return names[0]


PROVIDERS = (
    argument("--providers", metavar="NAMES",
        help="ONNX Runtime's execution providers, comma-separated, best first (default: the CPU's)"),
    argument("--provider-option", action="append", default=[], metavar="NAME=VALUE",
        help="an option of one of them, such as trt_engine_cache_enable=0; PROVIDER:NAME=VALUE where NAME does not say"
        " whose it is; may be repeated"),
)  # fmt: skip
"""The choice of ONNX Runtime's execution providers."""


def parse_providers(args: argparse.Namespace) -> list[Provider] | None:
    """Return the providers that `--providers` names, with their options; None where it names none.

    Raises:
        UsageError: An option cannot be read, or is given without providers.
    """
    if not args.providers:
        if args.provider_option:
            raise UsageError(
                f"--provider-option {args.provider_option[0]}: it is of a provider; name that with --providers"
            )
        return None
    return with_options([name.strip() for name in args.providers.split(",") if name.strip()], args.provider_option)


def joined(argv: Sequence[str], options: Sequence[str] = ("--target", "--region")) -> list[str]:
    """Join `--target -1,-2` to `--target=-1,-2`: argparse would take a list that begins with a minus for an option."""
    words: list[str] = []
    for word in argv:
        if words and words[-1] in options and re.fullmatch(r"-\d+(,[^-]*|,-\d+)+", word):
            words[-1] += f"={word}"
        else:
            words.append(word)
    return words


def refuse_used(path: str | os.PathLike[str] | None, used: Mapping[str, str | None]) -> None:
    """Make sure that a file to write is none that is in use, by whatever name.

    Args:
        path: The file; None: there is none.
        used: Files by what they are.

    Raises:
        UsageError: It is one of them.
    """
    for what, other in used.items():
        if path is not None and other is not None and _same(path, other):
            raise UsageError(f"{os.fspath(path)}: this is {what}; name another file to write to")


def _same(path: str | os.PathLike[str], other: str) -> bool:
    """Say whether two names are one file, which need not be there."""
    if os.path.exists(path) and os.path.exists(other):
        return os.path.samefile(path, other)
    return os.path.realpath(path) == os.path.realpath(other)


def one_blas_thread() -> None:
    """Keep NumPy's products to one thread: several would wait for cores on which ONNX Runtime's threads spin.

    It has an effect only before NumPy is first imported; what the user has set stays.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
