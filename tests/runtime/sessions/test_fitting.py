"""A manifest that counts on places that the model's inputs and outputs do not have is refused by the name of one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from aerocam.errors import ModelError
from aerocam.manifest import Boxes, Keypoints, Manifest, Masks
from aerocam.runtime.sessions.fitting import require, require_fitting
from aerocam.runtime.sessions.opening import open_session
from tiny_models import model

pytestmark = pytest.mark.runtime


def changed(manifest: Manifest, part: str, **fields: Any) -> Manifest:
    return replace(manifest, labels=(), **{part: replace(getattr(manifest, part), **fields)})


@pytest.mark.parametrize("name", ["stretch", "detect", "two_layers", "head", "softmax"])
def test_what_was_exported_fits(name: str) -> None:
    with open_session(model(name), threads=1) as session:
        require_fitting(session)


@pytest.mark.parametrize(
    ("name", "part", "fields", "message"),
    [
        ("stretch", "score", {"targets": 2}, r"input 'aerocam_target' is int32 \(1\), its manifest says \(2,\)"),
        ("stretch", "score", {"classes": 5}, r"output 'logits' is float32 \(1, 4\), its manifest says 5 numbers"),
        ("stretch", "preprocess", {"size": (32, 40)}, r"input 'images' .* says \(1, 3, 32, 40\)"),
        ("stretch", "preprocess", {"size": (2**15, 2**15)}, r"input 'images' .* says \(1, 3, 32768, 32768\)"),
        ("detect", "score", {"class_axis": 7}, "on axis 7 at"),
        ("detect", "score", {"class_offset": 99}, "103 numbers or more on axis 1"),
        ("detect", "score", {"class_axis": 2}, "on axis 2 at"),
        ("detect", "score", {"anchors": 7}, "at 7 places"),
        ("detect", "score", {"objectness": 99}, "100 numbers or more"),
        ("detect", "score", {"label_at": 99}, "100 numbers or more"),
        ("detect", "score", {"background": 99}, "104 numbers or more"),
        ("detect", "boxes", {"offset": 99}, "103 numbers or more on axis 1"),
        ("detect", "boxes", {"angle": 8}, "9 numbers or more on axis 1"),
        ("detect", "boxes", {"keypoints": Keypoints(4, 2, 3)}, "10 numbers or more on axis 1"),
        ("detect", "boxes", {"masks": Masks("output0", 4, 4)}, r"its manifest says \(1, 4, h, w\)"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, part: str, fields: dict[str, Any], message: str) -> None:
    with open_session(model(name), threads=1) as session:
        session.manifest = changed(session.manifest, part, **fields)
        with pytest.raises(ModelError, match=f"{message}.*; export the model again"):
            require_fitting(session)


def test_layers_and_maps_are_of_the_size_that_the_manifest_says() -> None:
    with open_session(model("stretch"), threads=1) as session:
        (layer,) = session.manifest.layers
        session.manifest = replace(session.manifest, layers=(replace(layer, shape=(1, 3, 8, 13)),))
        with pytest.raises(ModelError, match=r"output 'A' is float32 \(1, 3, 8, 12\), .* says \(1, 3, 8, 13\)"):
            require(session, (), ("A",))
    with open_session(model("head"), threads=1) as session:
        assert session.manifest.head is not None
        head = replace(session.manifest.head, form="frame")
        session.manifest = replace(session.manifest, head=head)
        with pytest.raises(ModelError, match=r"output 'aerocam_map' .* says \(1, 32, 48\)"):
            require_fitting(session)


def test_what_is_absent_is_named() -> None:
    with open_session(model("detect"), threads=1) as session:
        session.manifest = replace(session.manifest, boxes=Boxes("elsewhere", 1))
        with pytest.raises(ModelError, match="it has no 'elsewhere', which its manifest names"):
            require(session, (), session.manifest.own_outputs)
