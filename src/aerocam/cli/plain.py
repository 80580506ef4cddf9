"""Plain models where an exported one is expected: exported on the way, and kept for the next time."""

from __future__ import annotations

import hashlib
import logging
import shlex
import tempfile
from contextlib import ExitStack
from pathlib import Path

from aerocam import __version__, manifest
from aerocam.cli.arguments import argument
from aerocam.errors import MissingDependencyError
from aerocam.files import cache_folder, make_folder, sha256
from aerocam.onnx_metadata import read_manifest, read_metadata

logger = logging.getLogger("aerocam.cli")


CACHE = argument(
    "--no-cache",
    dest="cache",
    action="store_false",
    help="do not keep what is exported of a plain model; default: it is kept for the next time",
)
"""Whether what is exported on the way is kept."""


def explainable(path: str, stack: ExitStack, cache: bool = True) -> str:
    """Return the path of an exported model: `path` itself, or what is exported of a plain model.

    The decisions of the export, and how it is made permanent, are logged.

    Args:
        path: An exported model, an engine, or a plain ONNX file.
        stack: Removes what is not kept.
        cache: Whether the export is kept, and an earlier one used.

    Raises:
        ModelError: There is no such file, it is not ONNX, or it cannot be exported.
        MissingDependencyError: It is plain, and what exports is not installed.
    """
    if Path(path).suffix.lower() != ".onnx" or manifest.KEY in read_metadata(path):
        return path
    try:
        from aerocam.export.pipeline import export_model, log_decisions
    except MissingDependencyError as error:
        raise MissingDependencyError(
            f"{path}: a plain model, which has to be exported first; run `aerocam export {shlex.quote(path)}` on a"
            f" workstation and give what it writes. To export it here: {error}"
        ) from error
    folder = cache_folder("exports") if cache else Path(stack.enter_context(tempfile.TemporaryDirectory()))
    kept = folder / _key(Path(path)) / f"{Path(path).stem}.cam.onnx"
    make_folder(kept.parent)
    if kept.exists():
        log_decisions(read_manifest(kept).decisions)
    else:
        export_model(path, kept)
    place = f"kept as {kept}, {kept.stat().st_size / 1e6:.1f} MB" if cache else "not kept"
    logger.info(
        "%s is a plain model: exported on the way, %s. `aerocam export %s` makes it permanent, and takes the flags that"
        " settle a decision",
        path,
        place,
        shlex.quote(path),
    )
    return str(kept)


def _key(path: Path) -> str:
    """Return what tells a model and this aerocam from others; weights in further files go by size and time."""
    import onnx

    proto = onnx.load(path, load_external_data=False)
    entries = (entry for tensor in proto.graph.initializer for entry in tensor.external_data)
    files = sorted({entry.value for entry in entries if entry.key == "location"})
    states = [(path.parent / name).stat() for name in files if (path.parent / name).exists()]
    parts = [__version__, sha256(path), *(f"{state.st_size} {state.st_mtime_ns}" for state in states)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
