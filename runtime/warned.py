"""What is wrong with explanations, said once in the log and every time in their records."""

from __future__ import annotations

import logging
import math

from aerocam.runtime.explanation import Explanation
from aerocam.runtime.maps import saliency

logger = logging.getLogger(__name__)


class Warned:
    """Looks at one model's explanations; each text is logged as a warning the first time, later for debugging."""

    def __init__(self, path: str) -> None:
        """Take the model's path, for the log."""
        self._path = path
        self._said: set[str] = set()

    def __call__(self, one: Explanation) -> list[str]:
        """What is wrong with an explanation; empty if all is well."""
        finite = all(math.isfinite(target.logit) for target in one.targets)
        found = [] if finite else ["the explained score is not finite"]
        found += saliency.problems(one.raws, one.layers, one.fusion, one.normalisation, one.form)
        for text in found:
            logger.log(logging.DEBUG if text in self._said else logging.WARNING, "%s: %s", self._path, text)
            self._said.add(text)
        return found
