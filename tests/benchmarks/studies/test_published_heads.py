"""The page of what heads cost, from a record made up here."""

from __future__ import annotations

from typing import Any

from aerocam.benchmarks.studies.pages.heads import HEADS, LAST, MIDDLE, MIDDLE_HEADS, page

HOST = {"processor": "a processor", "cores": 2, "onnxruntime": "1.32.0"}


def row(methods: list[str], refused: str) -> dict[str, Any]:
    """A measurement in which every method costs a tenth more than plain, but for one that is refused."""
    good = {
        "nodes": 7,
        "to plain": {"median": 1.1, "q1": 1.0, "q3": 1.2},
        "added to tail": {"median": 0.75, "q1": 0.5, "q3": 1.0},
    }
    found: dict[str, Any] = dict.fromkeys(methods, good) | {refused: {"refused": f"--head {refused}: not here"}}
    return {"milliseconds": {"plain": 10.0, "tail": 2.5}, "methods": found}


def test_the_page_has_every_head_and_says_what_was_refused() -> None:
    quartiles = {"median": 1.05, "q1": 1.0, "q3": 1.1}
    record = {
        "machine": HOST,
        "last": {name: row(HEADS, "cam") for name in LAST},
        "middle": {name: row(MIDDLE_HEADS, "finercam") for name in MIDDLE},
        "cfcam": {
            "milliseconds": {"cfcam, NumPy": {"p50": 21.5}, "cfcam, graph": {"p50": 30.25}},
            "MB": {"cfcam": 40.0},
        },
        "scorecam": {"to plain": quartiles},
        "memory": {"a network": {"plain": 100.0, "fused": 102.0, "runtime": 104.0}},
        "ends": {
            "224x224": {
                "frame in": quartiles,
                "both ends": quartiles,
                "preprocessing, ms": {"graph": 0.1, "OpenCV": 0.2, "NumPy": 1.0},
            }
        },
    }
    lines = page(record).splitlines()
    assert "| cam | refused | refused | refused | refused |  |" in lines
    assert "| gradcam | 1.100 | 1.100 | 1.100 | 1.100 | 7 |" in lines
    assert "- --head cam: not here" in lines
    assert "| gradcam | 0.75 | 0.75 |" in lines
    assert "| finercam | refused | refused |" in lines
    assert "| cfcam, NumPy | 21.5 | 40 |" in lines
    assert "| a network | 100 | 102 (1.020) | 104 (1.040) |" in lines
    assert "| 224x224 | 1.05 | 1.05 | 0.10 | 0.20 | 1.00 |" in lines
