"""For every test."""

from __future__ import annotations

import gc
import logging
import os
from pathlib import Path

import pytest

import engine_table


def pytest_configure(config: pytest.Config) -> None:
    """Give each of several processes one thread of ONNX Runtime: it takes one a core, and they wait by spinning."""
    if not hasattr(config, "workerinput"):
        return
    import onnxruntime

    class OneThread(onnxruntime.SessionOptions):
        def __init__(self) -> None:
            super().__init__()
            self.intra_op_num_threads = 1

    onnxruntime.SessionOptions = OneThread


@pytest.fixture(autouse=True)
def _logger_as_it_comes() -> None:
    """The command line sets up the package's logger for good; fixtures of a module may have run it before a test."""
    logger = logging.getLogger("aerocam")
    logger.handlers, logger.propagate = [], True
    logger.setLevel(logging.NOTSET)


def pytest_collection_finish() -> None:
    """Keep all that collecting has made out of later garbage collections, which tests ask for often: 0.3 s each."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table of the engines that were built, and write it where AEROCAM_ENGINES_PAGE says."""
    found = engine_table.rows(terminalreporter.stats.get("passed", ()))
    if not found:
        return
    terminalreporter.section("engines")
    for line in engine_table.text(found):
        terminalreporter.write_line(line)
    if page := os.environ.get("AEROCAM_ENGINES_PAGE"):
        Path(page).write_text(engine_table.page(found), encoding="utf-8")
