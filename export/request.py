"""What is asked of an export, in parts by subject. What fits no model is refused here, before a model is read.

Every field but those that hold a part is the parameter of `export_model` of the same name, which is described there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_args

from aerocam import manifest
from aerocam.errors import UsageError, did_you_mean
from aerocam.export.destinations import Destination
from aerocam.export.gradients.rule_tables import layer_rule
from aerocam.export.layers.target_layers import AUTO
from aerocam.export.preprocessing import Given
from aerocam.export.scores.detectors import NAMES
from aerocam.methods import HEADS, METHODS, OF_TAIL
from aerocam.providers import Provider

NOUNS = {"head": "fused method", "map_form": "form of a map"}
"""What a value of a parameter is called, where that is not the parameter's own name."""


@dataclass(frozen=True)
class Score:
    """Which score is explained, and of which output."""

    task: manifest.Task | None = None
    score_output: str | None = None
    layout: str | None = None
    activation: manifest.Activation | None = None
    labels: Sequence[str] | None = None
    targets: int = 1
    contrast: manifest.Contrast | None = None

    def __post_init__(self) -> None:
        """Raise UsageError for an unknown value, fewer than one target, or a layout of what is no detector."""
        _require_known(self, task=get_args(manifest.Task), layout=NAMES, contrast=get_args(manifest.Contrast))
        _require_known(self, activation=get_args(manifest.Activation))
        if self.targets < 1:
            raise UsageError(f"`targets={self.targets}`: 1 or more is expected")
        if self.layout is not None and self.task not in (None, "detect"):
            raise UsageError(
                f"`layout={self.layout!r}`: a layout is one of a detector's, the task is {self.task}; see `task`"
            )


@dataclass(frozen=True)
class Walk:
    """The layers that the score is walked back to, and the rules of the walk."""

    layers: str | Sequence[str] = AUTO
    guided: bool = False
    relevance: bool = False

    @property
    def names(self) -> Sequence[str]:
        """Return the names and patterns of the layers."""
        return [self.layers] if isinstance(self.layers, str) else self.layers


@dataclass(frozen=True)
class Fused:
    """The head that is fused into the graph, and whether activations and gradients leave the graph beside its map."""

    head: str | None = None
    eigen_smooth: bool = False
    tensors: bool | None = None

    def __post_init__(self) -> None:
        """Raise UsageError for an unknown head, smoothing without a head that can be smoothed, or nothing to emit."""
        if isinstance(self.head, str) and self.head in METHODS and (reason := METHODS[self.head].headless):
            raise UsageError(f"`head={self.head!r}`: it cannot be fused, as {reason}; try `head='gradcam'`")
        _require_known(self, head=HEADS)
        if self.eigen_smooth and self.head is None:
            raise UsageError("`eigen_smooth`: no fused head to smooth; add `head`, or give it to aerocam explain")
        if self.eigen_smooth and self.head in OF_TAIL:
            raise UsageError(
                f"`eigen_smooth`: not with `head={self.head!r}`, which gives the map at once; try `head='gradcam'`"
            )
        if self.head is None and not self.leave_tensors:
            raise UsageError("nothing to emit: give a head, or let activations and gradients leave the graph")

    @property
    def leave_tensors(self) -> bool:
        """Return whether activations and gradients leave the graph."""
        return self.head is None if self.tensors is None else self.tensors


@dataclass(frozen=True)
class Ends:
    """What the graph does beside the explanation itself: it takes a frame, and gives a finished map and an overlay."""

    frame: tuple[int, int] | None = None
    map_form: manifest.MapForm = "raw"
    overlay: bool = False

    def __post_init__(self) -> None:
        """Raise UsageError for an unknown form, a frame that is no size in px, or an overlay without a frame."""
        _require_known(self, map_form=get_args(manifest.MapForm))
        if self.frame is not None and (len(self.frame) != 2 or min(self.frame) < 1):
            raise UsageError(f"`frame={self.frame!r}`: height and width in px are expected, as in (720, 1280)")
        if self.overlay and self.frame is None:
            raise UsageError("`overlay`: it is drawn over the frame, and the graph takes none; add `frame=(H, W)`")


@dataclass(frozen=True)
class Files:
    """Which files are written, and for whom."""

    packaging: manifest.Packaging = "fused"
    batch: int | None = None
    destination: Destination = "onnxruntime"

    def __post_init__(self) -> None:
        """Raise UsageError for an unknown value, or a batch below 1 or without split packaging."""
        _require_known(self, packaging=get_args(manifest.Packaging), destination=get_args(Destination))
        if self.batch is not None and self.batch < 1:
            raise UsageError(f"`batch={self.batch}`: 1 or more is expected")
        if self.batch is not None and self.packaging != "split":
            raise UsageError(f"`batch={self.batch}`: it is of a file of its own; give `packaging='split'` as well")


@dataclass(frozen=True)
class ExportRequest:
    """All that is asked of one export."""

    path: Path
    output: str | Path | None = None
    score: Score = field(default_factory=Score)
    walk: Walk = field(default_factory=Walk)
    fused: Fused = field(default_factory=Fused)
    ends: Ends = field(default_factory=Ends)
    files: Files = field(default_factory=Files)
    precision: manifest.Precision = "source"
    input_shapes: Mapping[str, Sequence[int]] | None = None
    fix: Mapping[str, Any] | None = None
    preprocess: Given = None
    check: bool = True
    providers: Sequence[Provider] | None = None

    @classmethod
    def of(cls, path: str | Path, output: str | Path | None = None, **options: Any) -> ExportRequest:
        """Build a request from the keyword arguments of `export_model`; other names are ignored."""
        parts = {"score": Score, "walk": Walk, "fused": Fused, "ends": Ends, "files": Files}
        built = {name: part(**_named(part, options)) for name, part in parts.items()}
        return cls(Path(path), output, **_named(cls, options | built))

    def __post_init__(self) -> None:
        """Raise UsageError for an output that cannot be written, an unknown precision, or parts that do not fit."""
        self._require_place(self.paths[0])
        if self.precision == "int8":  # type: ignore[comparison-overlap]
            raise UsageError(
                "`precision='int8'`: aerocam does not quantise; quantise the model first, with"
                " onnxruntime.quantization.quantize_static (QuantFormat.QDQ; for TensorRT extra_options"
                " ActivationSymmetric and WeightSymmetric on, QuantizeBias off), then export what it writes, without"
                " `precision`"
            )
        _require_known(self, precision=get_args(manifest.Precision))
        walk, fused, ends, files = self.walk, self.fused, self.ends, self.files
        layer_rule(walk.relevance, walk.guided, fused.head)  # raises where these three exclude each other
        if walk.guided and fused.head is not None:
            raise UsageError(
                f"`guided`: not with `head={fused.head!r}`, which takes true gradients of one layer; export without the"
                " head"
            )
        if fused.head is None and (ends.overlay or ends.map_form != "raw"):
            name = "overlay" if ends.overlay else f"map_form={ends.map_form!r}"
            raise UsageError(f"`{name}`: no fused head, whose map that would be; add `head='gradcam'`, say")
        if ends.overlay and files.packaging == "split":
            raise UsageError(
                "`overlay`: it is drawn over the frame, which what explains does not have; export without"
                " `packaging='split'`"
            )
        if files.batch is not None and not fused.leave_tensors:
            raise UsageError(
                f"`batch={files.batch}`: it takes the layer's activations, which do not leave a file with a head; give"
                " `tensors=True` as well"
            )

    @property
    def paths(self) -> tuple[Path, Path, Path]:
        """Return the paths of the file that runs on every frame and, beside it, of the explaining one and the tail."""
        output = self.path.with_name(f"{self.path.stem}.cam.onnx") if self.output is None else Path(self.output)
        explain, tail = (output.with_name(f"{output.stem}.{job}.onnx") for job in ("explain", "tail"))
        return output, explain, tail

    def _require_place(self, output: Path) -> None:
        """Raise UsageError unless `output` is an .onnx file in a folder that exists, and not the model itself."""
        if output.resolve() == self.path.resolve():
            raise UsageError(f"`output={str(output)!r}`: that is the model itself; choose another name")
        if output.suffix.lower() != ".onnx":
            raise UsageError(
                f"`output={str(output)!r}`: found the suffix '{output.suffix}', expected .onnx; choose another name"
            )
        if not output.parent.is_dir():
            raise UsageError(f"`output={str(output)!r}`: there is no folder {str(output.parent)!r}; make it first")


def _named(part: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are fields of a part."""
    return {entry.name: options[entry.name] for entry in fields(part) if entry.name in options}


def _require_known(part: object, **allowed: Iterable[str]) -> None:
    """Raise UsageError for a field that is neither None nor one of its known values."""
    for name, values in allowed.items():
        value, choices = getattr(part, name), tuple(values)
        if value is not None and value not in choices:
            raise UsageError(
                f"`{name}={value!r}`: no such {NOUNS.get(name, name)}. {did_you_mean(str(value), choices)}"
            )
