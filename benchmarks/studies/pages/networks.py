"""`python -m aerocam.benchmarks.studies.pages.networks`: decisions about networks that nobody here made, and the truth.

Networks of torchvision, timm and transformers are written beforehand, in an environment of their own (`make networks`
does both); those that are not there are left out. The record is kept as JSON, the table as a page beside it.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, get_args

import onnx

from aerocam.benchmarks.studies.networks import making, published, real
from aerocam.benchmarks.studies.networks.judging import Judgement, Outcome, judge
from aerocam.benchmarks.studies.pages.publishing import publish
from aerocam.benchmarks.zoo import cache

RECORD, PAGE = "networks.json", "networks.md"
OUTCOMES = get_args(Outcome)
SHOWN = 160
"""Characters of a reason that are shown."""

TEXT = (
    "Networks of torchvision, timm and transformers, small ones where the architecture allows, with random",
    "weights, each by both of PyTorch's exporters with their default opsets; and every file with real weights,",
    "or of real origin, that packages ship as ONNX. What is true of each is written by hand, from where it",
    "comes from, in `benchmarks/studies/networks`; files with dynamic axes are given a shape, else nothing.",
    "",
    "- **right**: as it is true; **warned**: the export says that it is a guess, with the parameter that settles it.",
    "- **output**: the right one, with the right number of classes. **activation**: what turns it into",
    "  probabilities. **layers**: their modules and grids. **preprocessing**: mean and deviation within a grey level,",
    "  the order of the colours, and crop, stretch or letterbox; what share is cropped, and the filter, are not asked.",
    "  Of embeddings the whole frame counts as right, though the origins of six of these crop it.",
    "- **refused**: no file is written, and the error says what to do.",
    "",
    "What pixels a network was trained on stands in no file of PyTorch's: preprocessing is always warned of there. The",
    "names of the modules tell its family, and the guess is what most of the family's published weights take; it is",
    "wrong for the others.",
)

Row = Mapping[str, Any]


def measure(only: str = "") -> dict[str, Any]:
    """Judge every file whose network's name contains `only`, and return the record."""
    rows = [{"network": name, "file": file, **asdict(judgement)} for name, file, judgement in _judged(only)]
    made = making.files(cache() / "networks")
    absent = {
        f"{name}, {exporter}": path.with_suffix(".txt").read_text(encoding="utf-8")
        for name, exporter, path in made
        if path.with_suffix(".txt").exists()
    }
    return {"rows": rows, "not written": absent, "published": {} if only else published.shares()}


def _judged(only: str) -> Iterator[tuple[str, str, Judgement]]:
    """Yield the name of a network, where its file is from, and what came of it."""
    for name, network in real.NETWORKS.items():
        if only in name:
            path = network.path()
            yield name, _producer(path), _told(name, judge(path, network.truth, network.shapes))
    for name, exporter, path in making.files(cache() / "networks"):
        if only in name and path.exists():
            yield name, exporter, _told(f"{name}, {exporter}", judge(path, making.NETWORKS[name].truth))


def _producer(path: Path) -> str:
    proto = onnx.load(path, load_external_data=False)
    return f"{proto.producer_name} {proto.producer_version}".strip() or "unnamed"


def _told(name: str, judgement: Judgement) -> Judgement:
    """Print one line, and return what it is about."""
    wrong = [verdict.subject for verdict in judgement.verdicts if "wrong" in verdict.outcome]
    print(f"{name}: {judgement.refused or ', '.join(wrong) or 'right'}", flush=True)
    return judgement


def page(record: Mapping[str, Any]) -> str:
    """Return the record as a Markdown page."""
    rows = record["rows"]
    explained = [row for row in rows if not row["refused"]]
    return "\n".join(
        [
            "# What an export without options decides about networks that nobody here made",
            "",
            f"`make networks` wrote this page and `{RECORD}`.",
            "",
            *TEXT,
            *_published(record.get("published")),
            "",
            *_totals(rows),
            "",
            "## By decision",
            "",
            f"| decision | {' | '.join(OUTCOMES)} |",
            f"|---|{'--:|' * len(OUTCOMES)}",
            *_by_subject(explained),
            "",
            "## What is wrong",
            "",
            "| network | file | | decision | decided | right |",
            "|---|---|---|---|---|---|",
            *_wrong(explained),
            "",
            "## What is refused",
            "",
            "| network | file | reason |",
            "|---|---|---|",
            *(_line(row["network"], row["file"], row["refused"]) for row in rows if row["refused"]),
            "",
            "## What no file could be written of",
            "",
            "| network | reason |",
            "|---|---|",
            *(_line(name, reason) for name, reason in record["not written"].items()),
            "",
            "## Every network",
            "",
            "`+` right, `(+)` warned and right, `(-)` warned and wrong, `-` silent and wrong.",
            "",
            f"| network | file | {' | '.join(_subjects(explained))} |",
            f"|---|---|{':-:|' * len(_subjects(explained))}",
            *_table(rows, _subjects(explained)),
            "",
        ]
    )


def _published(counts: Mapping[str, int] | None) -> Iterator[str]:
    """Yield what is assumed of all the weights that timm publishes."""
    if counts:
        imagenet, assumed, possible = (counts[key] / counts["weights"] for key in ("imagenet", "assumed", "possible"))
        yield f"Of the {counts['weights']} weights that timm publishes, which the families were made from,"
        yield f"{imagenet:.1%} take ImageNet's mean and deviation; what is assumed is right for {assumed:.1%}."
        yield "No rule that sees names and shapes, but not which weights they are, is right for more than"
        yield f"{possible:.1%}."


def _totals(rows: Iterable[Row]) -> Iterator[str]:
    """Yield the totals, by network: what came of any of its files."""
    rows = list(rows)
    networks: dict[str, set[str]] = {}
    for row in rows:
        networks.setdefault(row["network"], set()).update(_outcomes(row))
    outcomes = [outcome for row in rows for outcome in _outcomes(row)]
    warned = sum(outcome.startswith("warned") for outcome in outcomes)
    refused = {row["network"] for row in rows if row["refused"]}

    def having(outcome: str) -> str:
        count = sum(outcome in found for found in networks.values())
        return f"{count} ({count / len(networks):.0%})"

    yield f"- {len(networks)} networks in {len(rows)} files, {len(refused)} networks refused"
    yield f"- networks with a decision that is silent and wrong: {having('silent and wrong')}"
    yield f"- networks with a decision that is warned and wrong: {having('warned and wrong')}"
    yield f"- decisions with a warning: {warned} of {len(outcomes)} ({warned / max(len(outcomes), 1):.0%})"


def _outcomes(row: Row) -> list[str]:
    return [verdict["outcome"] for verdict in row["verdicts"]]


def _subjects(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(verdict["subject"] for row in rows for verdict in row["verdicts"]))


def _by_subject(rows: list[Row]) -> Iterator[str]:
    for subject in _subjects(rows):
        counts = Counter(v["outcome"] for row in rows for v in row["verdicts"] if v["subject"] == subject)
        yield _line(subject, *(str(counts[outcome] or "") for outcome in OUTCOMES))


def _wrong(rows: Iterable[Row]) -> Iterator[str]:
    for row in rows:
        for verdict in row["verdicts"]:
            if "wrong" in verdict["outcome"]:
                outcome = verdict["outcome"].partition(" ")[0]
                shown = (f"`{verdict['decided']}`", f"`{verdict['expected']}`")
                yield _line(row["network"], row["file"], outcome, verdict["subject"], *shown)


def _table(rows: Iterable[Row], subjects: list[str]) -> Iterator[str]:
    signs = dict(zip(OUTCOMES, ("+", "(+)", "(-)", "-"), strict=True))
    for row in rows:
        of = {verdict["subject"]: signs[verdict["outcome"]] for verdict in row["verdicts"]}
        cells = ["refused", *[""] * (len(subjects) - 1)] if row["refused"] else [of.get(name, "") for name in subjects]
        yield _line(row["network"], row["file"], *cells)


def _line(*cells: str) -> str:
    shown = (
        cell if len(cell) <= SHOWN else f"{cell[:SHOWN]}..." + ("`" if cell.startswith("`") else "") for cell in cells
    )
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in shown)} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="NAME", help="networks whose names contain this; writes nothing")
    asked = parser.parse_args()
    if asked.only:
        logging.getLogger("aerocam.export").setLevel(logging.ERROR)
        print(page(measure(asked.only)))
        sys.exit()
    logging.disable(logging.WARNING)  # the guesses are on the page
    sys.exit(publish("studies.pages.networks", partial(measure, ""), page, RECORD, PAGE))
