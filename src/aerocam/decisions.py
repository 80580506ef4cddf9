"""What an export decided about a model, on what evidence, and what settles it; kept in the manifest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Source = Literal["asked", "metadata", "graph", "measured", "assumed"]


@dataclass(frozen=True)
class Decision:
    """Something that the export decided about a model.

    Attributes:
        subject: What it is about, such as `task`.
        decided: What was decided, in words.
        evidence: What speaks for it, in words.
        parameter: The parameter of `export_model` that settles it.
        source: Where the evidence comes from: what was `asked` for, the model's `metadata`, its `graph`, what was
            `measured` where it was run; `assumed` where it is what such models mostly are.
        conflict: What speaks against it, in words; empty where nothing does.
    """

    subject: str
    decided: str
    evidence: str
    parameter: str
    source: Source = "graph"
    conflict: str = ""

    @property
    def is_guess(self) -> bool:
        """Return whether it may well be wrong: nothing in model or request speaks for it, or something against it."""
        return self.source == "assumed" or bool(self.conflict)

    def __str__(self) -> str:
        """Return it on one line, with the parameter that settles it where it is a guess."""
        if not self.is_guess:
            return f"{self.subject}: {self.decided} ({self.evidence})"
        against = f", but {self.conflict}" if self.conflict else ""
        return f"{self.subject}, a guess: {self.decided} ({self.evidence}{against}); `{self.parameter}` settles it"
