"""What a list of layers says of each: how far one answer sees in it, and whether it stands for those around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import onnx_ir as ir

from aerocam.export.layers.candidates import Candidate, candidates
from aerocam.export.layers.cuts import cuts
from aerocam.export.layers.head_inputs import predictions
from aerocam.export.layers.receptive_field import receptive_fields
from aerocam.export.scores import ScoreSite


def listed(model: ir.Model, site: ScoreSite) -> list[Candidate]:
    """Return the candidates with all that a list says of them, in graph order, rules tried out.

    Args:
        model: In normal form.
        site: Where the score is.
    """
    plain = candidates(model, site, try_out=True)
    fields = receptive_fields(plain, predictions(site)) if plain else {}
    known = [replace(candidate, field=fields[candidate.value]) for candidate in plain]
    stages = {
        candidate.value for candidate in _stages(known, {layer.value for layer in cuts(model, site.logits, known)})
    }
    return [replace(candidate, is_stage=candidate.value in stages) for candidate in known]


def _stages(known: Sequence[Candidate], passed: set[ir.Value]) -> list[Candidate]:
    """Return the last of each row of candidates on one grid: of those that everything passes, or else of all.

    Left out are those that no answer depends on, and where others are left those in which it sees one cell.
    """
    stages = []
    for _, row in groupby(known, lambda candidate: (candidate.depth < 0, candidate.shape[2:])):
        seen = [candidate for candidate in row if candidate.field is not None]
        wide = [candidate for candidate in seen if candidate.field != (1, 1)] or seen
        stages += [candidate for candidate in wide if candidate.value in passed][-1:] or wide[-1:]
    return stages
