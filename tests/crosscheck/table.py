"""The results as Markdown, and which of them are failures."""

from __future__ import annotations

import platform
from datetime import date
from importlib.metadata import PackageNotFoundError, version

from compare import DOUBLE, KINKED, KINKED_MAP, SMOOTH, SMOOTH_MAP, Row
from networks import NETWORKS

PACKAGES = ("torch", "torchvision", "timm", "ultralytics", "grad-cam", "onnx", "onnx-ir", "onnxscript", "onnxruntime")
SECONDS, MEGABYTES, TIMES = 5, 500, 4
"""What a rewrite may take: seconds, and megabytes or so many times the model's size; more is marked with `!`."""
NOTE = 240
"""Characters of a note that are shown."""

HEAD = """\
| network | exporter | layer | shape | verdict | gradient | correlation | map | float64 | nodes | s | MB | note |
|---|---|---|---|---|--:|--:|--:|--:|--:|--:|--:|---|
"""

TEXT = """\
# Cross-check with PyTorch

Made by `make crosscheck` on {date}, Python {python}: {versions}.

Architectures with seeded random weights go through both of PyTorch's ONNX exporters and through aerocam; the gradients
that ONNX Runtime computes are compared with PyTorch's autograd at the module whose output has the layer's values, and
the Grad-CAM map with pytorch-grad-cam's at that module.

- **gradient**: largest difference, relative to the largest gradient; **correlation**: of the two gradients; **map**:
  largest difference of the maps, both in [0, 1]; **nodes** added, **s** and **MB**: time and peak memory of the
  rewrite with its self-check, in its own process (`!`: above {seconds} s, or above {megabytes} MB and {times} times the
  model's size).
- Limits: smooth networks {smooth:g} for gradients and {smooth_map:g} for maps. Networks with kinks (ReLU, hard swish),
  where a mask may come out differently in float32: correlation {kinked}, maps {kinked_map:g}.
- **float64**: what is beyond these limits is compared again with both sides in float64; below {double:g}, the
  difference was rounding, and the verdict is `agrees in float64`. (Exporters fold batch norms into float32 weights,
  so that the two do not agree to the last bit there either.)
- `_mean`: the class's logits are averaged over the positions, or anchors, to one score.

{counts}

"""


def document(rows: list[Row]) -> str:
    """The whole file."""
    verdicts = [row.verdict for row in rows]
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in sorted(set(verdicts)))
    text = TEXT.format(
        date=date.today().isoformat(),
        python=platform.python_version(),
        versions=", ".join(f"{name} {_version(name)}" for name in PACKAGES),
        seconds=SECONDS,
        megabytes=MEGABYTES,
        times=TIMES,
        double=DOUBLE,
        smooth=SMOOTH,
        smooth_map=SMOOTH_MAP,
        kinked=KINKED,
        kinked_map=KINKED_MAP,
        counts=f"{len({row.network for row in rows})} networks, {len(rows)} rows: {counts}.",
    )
    return text + HEAD + "".join(line(row) + "\n" for row in rows)


def line(row: Row) -> str:
    """One row of the table."""
    cells = [
        row.network,
        row.exporter,
        f"{row.place}: `{row.layer}`" if row.layer else row.place,
        "x".join(map(str, row.shape)),
        row.verdict,
        _figure(row.gradient, ".1e"),
        _figure(row.correlation, ".6f"),
        _figure(row.map, ".1e"),
        _figure(row.double, ".1e"),
        _figure(row.nodes, "d"),
        _figure(row.seconds, ".1f", SECONDS),
        _figure(row.megabytes, ".0f", max(MEGABYTES, TIMES * (row.model or 0))),
        " ".join(row.note.replace("|", "\\|").split())[:NOTE],
    ]
    return f"| {' | '.join(cells)} |"


def is_failure(row: Row) -> bool:
    """Whether something that is expected to pass did not."""
    if row.verdict.startswith("agrees"):
        return False
    return not (row.verdict in ("refused", "no export") and NETWORKS[row.network].refused)


def outdated(rows: list[Row]) -> list[str]:
    """Networks that pass although a refusal is expected."""
    names = dict.fromkeys(row.network for row in rows if NETWORKS[row.network].refused)
    return [name for name in names if all(row.verdict.startswith("agrees") for row in rows if row.network == name)]


def _figure(value: float | None, form: str, limit: float = float("inf")) -> str:
    return "" if value is None else f"{value:{form}}{' !' if value > limit else ''}"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
