"""List the layers of a model that can be explained.

Examples:
  aerocam layers model.onnx                                 every candidate, the automatic choice marked *
  aerocam layers model.onnx --match '*stage3*'              only those whose name matches
  aerocam layers model.onnx --input-shape 1,3,320,320       a model with dynamic axes
"""

from __future__ import annotations

import argparse
import fnmatch

from aerocam.cli.arguments import MODEL, argument, parse_input_shapes
from aerocam.methods import HEADS_ANYWHERE

ARGUMENTS = (
    *MODEL,
    argument("--match", metavar="PATTERN", default="*", help="show only names that match, with * and ?"),
)  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Print one line per candidate: mark, depth, shape, operator, tensor name, node name."""
    from aerocam.export import list_layers

    shapes = parse_input_shapes(args.input_shapes, args.model)
    candidates, automatic = list_layers(
        args.model, task=args.task, score_output=args.score_output, layout=args.layout, input_shapes=shapes
    )
    print(f"{'':2}{'depth':>5}  {'shape':<18} {'kind':<9} {'operator':<20} {'gradient':>8}  tensor")
    for candidate in candidates:
        if not (fnmatch.fnmatchcase(candidate.name, args.match) or fnmatch.fnmatchcase(candidate.node, args.match)):
            continue
        mark = "*" if candidate in automatic else "-" if candidate.obstacle else " "
        node = f"  (node {candidate.node})" if candidate.node and candidate.node != candidate.name else ""
        note = f"  cannot be reached: {candidate.obstacle} passes no gradient to it" if candidate.obstacle else ""
        shape = "x".join(map(str, candidate.value.shape or ()))
        depth = "input" if candidate.depth < 0 else str(candidate.depth)
        line = (
            f"{mark:2}{depth:>5}  {shape:<18} {candidate.fold.kind:<9} {candidate.op:<20} {_short(candidate.cost):>8}"
        )
        print(f"{line}  {candidate.name}{node}{note}")
    out_of_reach = (
        f"- for {', '.join(HEADS_ANYWHERE)} alone; " if any(candidate.obstacle for candidate in candidates) else ""
    )
    print(f"* what --layer auto takes; {out_of_reach}gradient: about its multiply-adds")


def _short(count: int) -> str:
    """Return a count in three digits and a letter."""
    for unit, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= unit:
            return f"{count / unit:.3g} {letter}"
    return str(count)
