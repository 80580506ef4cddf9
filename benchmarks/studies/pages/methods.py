"""The README's tables of methods, from the table of methods and the signatures of their functions.

`python -m aerocam.benchmarks.studies.pages.methods FILE` writes them between the file's markers, as `make docs` does.
"""

from __future__ import annotations

import inspect
import re
import sys
from itertools import groupby
from pathlib import Path

from aerocam.errors import UsageError
from aerocam.files import write_together
from aerocam.methods import METHODS, MethodFacts
from aerocam.runtime.methods import COMPUTED

TABLES = ("layers", "input", "forward")
"""What stands between `<!-- methods: NAME; ... -->` and `<!-- end -->`."""

SIMPLE = (bool, int, float, str, tuple, type(None))
"""Types of the defaults that a table shows."""

CLASSES = {"inner layers": r"\*"}
"""Whether two classes have two maps, where the table says it in another way."""


def table(name: str) -> str:
    """Return one of `TABLES`, Markdown."""
    kinds = {"layers": ("layer", "contrast"), "input": ("input",), "forward": ("model", "tail")}[name]
    own = [facts for facts in METHODS.values() if facts.kind in kinds]
    if name == "input":
        own += [facts for facts in METHODS.values() if facts.gradients == "relevance"]
    cells = _of_layer if name == "layers" else _of_runs
    columns = ("class", "head") if name == "layers" else ("class", "export with", "runs")
    rows = [("method", "what it is", *columns, "options and defaults"), ("---",) * (len(columns) + 3)]
    for same, methods in groupby(own, cells):  # those of which the same is said share a row
        rows.append((", ".join(f"`{facts.name}`" for facts in methods), *same))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _of_layer(facts: MethodFacts) -> tuple[str, ...]:
    """Return what a method on a layer is, for which classes, where it can be a head, and its options."""
    made = f", of a file made with `{_flags(facts)}`" if facts.export_arguments else ""
    head = "no" if facts.headless else "yes" if facts.gradients else "any layer"
    return facts.what + made, _class(facts), head, _options(facts)


def _of_runs(facts: MethodFacts) -> tuple[str, ...]:
    """Return what another method is, for which classes, which file it needs, how often it runs what, its options."""
    what = {"model": "model, ", "tail": "what follows the layer, "}.get(facts.kind, "")
    return facts.what, _class(facts), _export(facts), what + facts.runs, _options(facts)


def _class(facts: MethodFacts) -> str:
    return CLASSES.get(facts.class_sensitive, facts.class_sensitive)


def _flags(facts: MethodFacts) -> str:
    return " ".join(
        f"--{name}" + ("" if value is True else f" {value}") for name, value in facts.export_arguments.items()
    )


def _export(facts: MethodFacts) -> str:
    """Return what `aerocam export` has to be told."""
    if facts.kind == "model":
        return "any layer" if facts.activations else "any file"
    if facts.kind == "tail":
        return f"`--head {facts.name}`, or `{_flags(facts)}`"
    at_input = facts.at_input or facts.kind == "layer"
    return f"`{' '.join(filter(None, ('--layer INPUT' if at_input else '', _flags(facts))))}`"


def _options(facts: MethodFacts) -> str:
    """Return the options with their defaults, as the function has them, and what else is to be known of them."""
    parameters = inspect.signature(COMPUTED[facts.name].function).parameters.values()
    options = {one.name: one.default for one in parameters if one.kind is one.KEYWORD_ONLY}
    shown = {name: f"={value}" if isinstance(value, SIMPLE) else "" for name, value in options.items()}
    notes = {name: f" ({note})" for name, note in facts.options.items()}
    return ", ".join(f"`{name}{shown.get(name, '')}`{notes.get(name, '')}" for name in dict.fromkeys([*shown, *notes]))


def page(text: str) -> str:
    """Return a text with the tables between its markers made anew.

    Raises:
        UsageError: A table has no place in it.
    """
    if absent := [name for name in TABLES if f"<!-- methods: {name};" not in text]:
        raise UsageError(f"found no '<!-- methods: {absent[0]}; ... -->' with an '<!-- end -->'; add these lines")
    place = re.compile(r"(<!-- methods: (\w+);[^\n]*-->\n\n).*?(\n\n<!-- end -->)", re.DOTALL)
    return place.sub(lambda found: found[1] + table(found[2]) + found[3], text)


def main(arguments: list[str]) -> None:
    """Write the tables into the one file that is named."""
    if len(arguments) != 1:
        raise UsageError("pages of methods: one file name is expected, as README.md")
    path = Path(arguments[0])
    write_together({path: page(path.read_text(encoding="utf-8")).encode()})


if __name__ == "__main__":
    main(sys.argv[1:])
