"""List the layers of a model that can be explained.

Examples:
  aerocam layers model.onnx                                 the stages, the automatic choice marked *
  aerocam layers model.onnx --all                           every tensor that can be a layer
  aerocam layers model.onnx --match '*stage3*'              only those whose name matches
  aerocam layers model.onnx --input-shape 1,3,320,320       a model with dynamic axes
"""

from __future__ import annotations

import argparse
import fnmatch
from typing import TYPE_CHECKING

from aerocam.cli.arguments import MODEL, argument, parse_arrays, parse_input_shapes
from aerocam.methods import HEADS_ANYWHERE

if TYPE_CHECKING:
    from aerocam.export import Candidate

ARGUMENTS = (
    *MODEL,
    argument("--all", action="store_true", help="every tensor, not the last of each size alone"),
    argument("--match", metavar="PATTERN", help="every tensor whose name matches, with * and ?"),
)  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Print one line per layer: mark, depth, shape, kind, operator, cells, arithmetic, tensor and node."""
    from aerocam.export import list_layers

    shapes = parse_input_shapes(args.input_shapes, args.model)
    candidates, automatic = list_layers(
        args.model,
        task=args.task,
        score_output=args.score_output,
        layout=args.layout,
        activation=args.activation,
        input_shapes=shapes,
        fix=parse_arrays(args.fix, "--fix"),
    )
    if args.match is not None:
        names = {name for x in candidates for name in (x.name, x.node) if fnmatch.fnmatchcase(name, args.match)}
        shown = [candidate for candidate in candidates if {candidate.name, candidate.node} & names]
    else:
        shown = [x for x in candidates if args.all or x.is_stage or x.depth < 0 or x in automatic]
    columns = f"{'cells':>9} {'behind':>6} {'gradient':>8}  tensor"
    print(f"{'':2}{'depth':>5}  {'shape':<18} {'kind':<9} {'operator':<20} {columns}")
    for candidate in shown:
        print(_line(candidate, "*" if candidate in automatic else "-" if candidate.obstacle else " "))
    out_of_reach = (
        f"- for {', '.join(HEADS_ANYWHERE)} alone; " if any(candidate.obstacle for candidate in candidates) else ""
    )
    print(f"* what --layer auto takes; {out_of_reach}cells: rows and columns of the layer that one answer depends on;")
    print("behind: share of the multiply-adds with weights between the layer and the score; gradient: about its own")
    if len(shown) < len(candidates) and args.match is None:
        print(f"{len(shown)} of {len(candidates)} layers: the last of each size; --all shows every one")


def _line(candidate: Candidate, mark: str) -> str:
    node = f"  (node {candidate.node})" if candidate.node and candidate.node != candidate.name else ""
    note = f"  cannot be reached: {candidate.obstacle} passes no gradient to it" if candidate.obstacle else ""
    shape = "x".join(map(str, candidate.value.shape or ()))
    depth = "input" if candidate.depth < 0 else str(candidate.depth)
    cells = (
        "none"
        if candidate.field is None
        else "all"
        if candidate.field == candidate.shape[2:]
        else "{}x{}".format(*candidate.field)
    )
    line = f"{mark:2}{depth:>5}  {shape:<18} {candidate.fold.kind:<9} {candidate.op:<20} {cells:>9}"
    return f"{line} {candidate.share_behind:>6.0%} {_short(candidate.cost):>8}  {candidate.name}{node}{note}"


def _short(count: int) -> str:
    """Return a count in three digits and a letter."""
    for unit, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= unit:
            return f"{count / unit:.3g} {letter}"
    return str(count)
