"""A small run of the mosaics' page with real weights: what knows classes localises, what knows none does not."""

import json

import numpy as np
import pytest

from aerocam.benchmarks.studies import grid
from aerocam.benchmarks.studies.pages.grid import page


@pytest.mark.slow
def test_lite0_on_three_mosaics(tmp_path, monkeypatch):
    monkeypatch.setattr(grid, "METHODS", ("gradcam", "layercam", "eigencam"))
    record, picture = grid.measure(tmp_path, 3, 1)
    assert picture is None  # 12 maps fill no bins
    shares = {name: {m: one["shares"] for m, one in rows.items()} for name, rows in record["rows"].items()}
    assert [len(one["gradcam"]) for one in shares.values()] == [12, 6, 6]
    assert {one["name"] for one in record["settings"]["tiles"]}.isdisjoint({"imagenet-06", "imagenet-07"})
    assert len(record["settings"]["tiles"]) == 17
    assert np.mean(shares["GridPG"]["gradcam"]) > 0.7
    assert np.mean(shares["GridPG"]["eigencam"]) == pytest.approx(0.25, abs=1e-6)  # the same map for all four cells
    assert 0.3 < np.mean(shares["GridPG"]["layercam"]) < 0.6
    # a gradient that is averaged over the layer cannot tell the corners of one class apart, a local one can
    assert 0.35 < np.mean(shares["DiFull"]["gradcam"]) < 0.55
    assert np.mean(shares["DiFull"]["layercam"]) > 0.95
    assert np.mean(shares["DiPart"]["layercam"]) > 0.95
    shown = page({"machine": {"processor": "P", "cores": 2, "onnxruntime": "1"}, **json.loads(json.dumps(record))})
    assert f"| gradcam | {np.mean(shares['GridPG']['gradcam']):.3f} ± " in shown
    assert "3 mosaics of 2 x 2 distinct classes" in shown
    assert "17 of 20 labelled photographs" in shown
