"""The score that is explained: found in the graph, and made a choice at run time; one module per task."""

from aerocam.export.scores import classify, detect, detectors, embed, regress, segment
from aerocam.export.scores.registry import NO_HINTS, Chosen, Hints, ScoreSite, append_choice, find_score, named_outputs
