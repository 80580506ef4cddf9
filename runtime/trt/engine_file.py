"""An engine file and the record beside it, `<engine>.json`: written together, checked before TensorRT sees them.

TensorRT gives no reason but a log line for an engine that it does not take, and none at all for one of another model.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from aerocam.decoding import Count, Range, decode
from aerocam.errors import EngineError, ManifestError
from aerocam.files import sha256, write_together
from aerocam.foreign import parse_json, read_text
from aerocam.manifest import Manifest
from aerocam.runtime.sessions.session import TensorSpec

SCHEMA = 1
"""Version of the record's form. A reader refuses any other."""

Mode = Literal["input", "output"]
Hardware = Literal["none", "ampere_plus", "same_compute_capability"]
Precision = Literal["typed", "float16"]
Bindings = Literal["tensorrt", "tensorrt_rtx"]
Size = Annotated[int, Range(0, 1 << 50)]


@dataclass(frozen=True)
class EngineTensor:
    """Describes an input or output of an engine.

    Attributes:
        name: Its name.
        mode: `input` or `output`.
        dtype: NumPy's name of its element type.
        shape: Its shape, static.
    """

    name: str
    mode: Mode
    dtype: str
    shape: tuple[Count, ...]

    def __post_init__(self) -> None:
        """Raise ManifestError for a type that is none of numbers."""
        if re.fullmatch(r"u?int(8|16|32|64)|float(16|32|64)|bool", self.dtype) is None:
            raise ManifestError(
                f"tensor {self.name[:40]!r} is of {self.dtype[:40]!r}, a type of numbers was expected; build it again"
            )

    @property
    def spec(self) -> TensorSpec:
        """Return the tensor as sessions describe it."""
        return TensorSpec(self.name, self.shape, np.dtype(self.dtype))


@dataclass(frozen=True)
class BuildSettings:
    """Says how an engine was built.

    Attributes:
        workspace: Most bytes of scratch memory; 0 where the builder's own limit was left.
        optimization_level: TensorRT's builder optimization level, 0 to 5; -1 where its own was left.
        tf32: Whether products in float32 may be rounded to TF32.
        precision: `typed` where every tensor keeps the type that the ONNX file gives it; `float16` where the builder
            may choose float16 (only versions of TensorRT that have the flag).
        version_compatible: Whether later versions of TensorRT can run it.
        hardware: Which other GPUs can run it.
    """

    workspace: Size = 0
    optimization_level: Annotated[int, Range(-1, 9)] = -1
    tf32: bool = False
    precision: Precision = "typed"
    version_compatible: bool = False
    hardware: Hardware = "none"


@dataclass(frozen=True)
class EngineRecord:
    """Says what an engine is, and for which machine.

    Attributes:
        bindings: The Python module whose TensorRT built it: `tensorrt` or `tensorrt_rtx`.
        tensorrt: Its version.
        compute_capability: Of the GPU it was built for, as in "8.7".
        device: That GPU's name; empty where there was none.
        model: File name of the ONNX model.
        model_sha256: Of that file.
        plan_sha256: Of the engine file.
        plan_bytes: Its size.
        tensors: Inputs and outputs, in the model's order.
        settings: How it was built.
        manifest: The model's manifest.
        aerocam: Version of aerocam that wrote it.
        schema: Version of this form.
    """

    bindings: Bindings
    tensorrt: str
    compute_capability: str
    device: str
    model: str
    model_sha256: str
    plan_sha256: str
    plan_bytes: Size
    tensors: tuple[EngineTensor, ...]
    settings: BuildSettings
    manifest: Manifest
    aerocam: str
    schema: int = SCHEMA

    def specs(self, mode: Mode) -> tuple[TensorSpec, ...]:
        """Return the inputs, or the outputs, as sessions describe them."""
        return tuple(tensor.spec for tensor in self.tensors if tensor.mode == mode)

    def to_json(self) -> str:
        """Return the record as one JSON object, with a checksum of itself under `sha256`."""
        data = json.loads(json.dumps(dataclasses.asdict(self)))
        return json.dumps({**data, "sha256": _checksum(data)}, ensure_ascii=False, indent=1) + "\n"


def record_path(engine: str | os.PathLike[str]) -> Path:
    """Return where the record of an engine file lies."""
    return Path(f"{os.fspath(engine)}.json")


def engine_files(path: Path, plan: bytes | memoryview, record: EngineRecord) -> dict[Path, list[bytes | memoryview]]:
    """Return what an engine's file holds, and its record's; for `write_together`."""
    return {path: [plan], record_path(path): [record.to_json().encode()]}


def write_engine(path: Path, plan: bytes | memoryview, record: EngineRecord) -> None:
    """Write an engine and its record, both or neither.

    Raises:
        WriteError: One of them cannot be written.
    """
    write_together(engine_files(path, plan, record))


def read_record(path: str | os.PathLike[str]) -> EngineRecord:
    """Read the record of an engine file, and make sure that the file is as the record says.

    Raises:
        EngineError: There is no such file, or it is not the one that the record was written for.
        ManifestError: There is no record, it is of another form, or it was changed.
    """
    engine, beside = Path(path), record_path(path)
    if not engine.is_file():
        raise EngineError(f"{engine}: there is no such file, expected an engine written by `aerocam build`")
    try:
        data = parse_json(read_text(beside))
    except FileNotFoundError as error:
        raise ManifestError(
            f"{engine}: there is no {beside.name} beside it, which says what is in it; copy both files, or run:"
            " aerocam build MODEL.cam.onnx"
        ) from error
    except (OSError, ValueError) as error:
        raise ManifestError(
            f"{beside}: cannot read it ({error}); copy it anew, or run: {build_command(engine)}"
        ) from error
    record = _decoded(data, beside, engine)
    size = engine.stat().st_size
    if size != record.plan_bytes or sha256(engine) != record.plan_sha256:
        content = f"{size} bytes" if size != record.plan_bytes else f"{size} bytes with another checksum"
        raise EngineError(
            f"{engine}: found {content}, its record was written for {record.plan_bytes} bytes; it was truncated or"
            f" replaced: copy both files anew, or run: {build_command(engine, record)}"
        )
    return record


def _decoded(data: Any, beside: Path, engine: Path) -> EngineRecord:
    """Return the record, once its form and its checksum hold."""
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != SCHEMA:
        raise ManifestError(
            f"{beside}: schema {schema!r} of an engine's record, this aerocam reads {SCHEMA}; run:"
            f" {build_command(engine)}"
        )
    checksum = data.pop("sha256", None)
    if checksum != _checksum(data):
        raise ManifestError(
            f"{beside}: it was changed since it was written; copy it anew, or run: {build_command(engine)}"
        )
    try:
        return decode(EngineRecord, data, "record")
    except ManifestError as error:
        raise ManifestError(f"{beside}: {error}") from error


def _checksum(data: Any) -> str:
    """Return the SHA-256 of decoded JSON, whatever its spacing."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def build_command(engine: Path, record: EngineRecord | None = None) -> str:
    """Return what builds an engine again, and the others of a split model with it, for messages."""
    if record is None:
        return f"aerocam build MODEL.cam.onnx -o {_first(engine.name)}"
    split = record.manifest.split is not None
    model, name = (_first(text) if split else text for text in (record.model, engine.name))
    return " ".join(["aerocam build", model, "-o", name, *_changed(record.settings)])


def _first(name: str) -> str:
    """Return the name of the file of a split model that runs on every frame: the only one built by its name."""
    return re.sub(r"\.(explain|tail)(\.\w+)$", r"\2", name)


def _changed(settings: BuildSettings) -> list[str]:
    """Return the settings that are not the defaults, as messages name parameters."""
    pairs = ((field, getattr(settings, field.name)) for field in dataclasses.fields(settings))
    return [f"`{field.name}={value!r}`" for field, value in pairs if value != field.default]
