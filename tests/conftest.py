"""For every test."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _logger_as_it_was() -> Iterator[None]:
    """The command line sets up the package's logger, for good in a process of its own."""
    logger = logging.getLogger("aerocam")
    before = logger.handlers, logger.propagate, logger.level
    yield
    logger.handlers, logger.propagate = before[:2]
    logger.setLevel(before[2])
