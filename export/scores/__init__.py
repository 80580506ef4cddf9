"""The score that is explained: found in the graph, and made a choice at run time; one module per task."""

from aerocam.export.scores import classify, detect, embed, regress, segment
from aerocam.export.scores.registry import Chosen, ScoreSite, append_choice, find_score

__all__ = ["Chosen", "ScoreSite", "append_choice", "classify", "detect", "embed", "find_score", "regress", "segment"]
