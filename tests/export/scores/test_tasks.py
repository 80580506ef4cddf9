"""Regressions, embeddings and one-class masks end to end: real networks, from picture to map."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnx.utils
import pytest
from numpy.typing import NDArray

from aerocam.benchmarks import zoo
from aerocam.cli import main
from aerocam.errors import UsageError
from aerocam.export import export_model
from aerocam.runtime import Explainer
from onnx_graphs import run_ort

FEATURES = "head/flatten"
"""What EfficientNet-Lite0's classifier reads: 1280 numbers, the means of the channels of `head/act`."""


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lite0 cut at its pooled features: ONNX's own cut."""
    path = tmp_path_factory.mktemp("features") / "features.onnx"
    network = onnx.load(zoo.lite0.model())
    onnx.save(onnx.utils.Extractor(network).extract_model(["images"], [FEATURES]), path)
    return path


def explainer(path: Path, task: str, **options: object) -> Explainer:
    """The network exported for a task at its last layer, self-check passed."""
    output = path.with_name(f"{task}.cam.onnx")
    done = export_model(path, output, task=task, preprocess=zoo.lite0.PREPROCESS, **options)  # type: ignore[arg-type]
    assert done.report is not None
    assert max(done.report.gradients.values()) < 0.02
    return Explainer(output, method="hirescam")


def arrays(explainer: Explainer) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Activations and gradients of the frame that was explained last."""
    found = explainer._passes.explain(explainer._resolved.slots[0])  # type: ignore[attr-defined]
    return found["head/act"].astype(np.float64), found["aerocam_gradients_0"].astype(np.float64)


def slopes(function: object, at: NDArray[np.float64], directions: NDArray[np.float64]) -> list[float]:
    """Central differences in float64 along directions."""
    step = 1e-4
    return [(function(at + step * d) - function(at - step * d)) / (2 * step) for d in directions]  # type: ignore[operator]


def test_a_number_of_a_regression(features: Path) -> None:
    with explainer(features, "regress", labels=[f"feature {i}" for i in range(1280)]) as explained:
        frame = zoo.photograph("coffee")
        found = explained(frame, 17)
        activations, gradients = arrays(explained)
        own = explained(frame)
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((4, *activations.shape))
    expected = slopes(lambda a: a[0, 17].mean(), activations, directions)
    assert [np.vdot(gradients, d) for d in directions] == pytest.approx(expected, rel=1e-5)
    assert (found.target.label, found.target.score) == (
        "feature 17",
        pytest.approx(activations[0, 17].mean(), rel=1e-5),
    )
    np.testing.assert_allclose(found.raw[0], activations[0, 17] / 49, rtol=1e-4, atol=1e-7)
    means = activations[0].mean(axis=(1, 2))
    assert own.target.index == np.abs(means).argmax() == own.classes[0].index
    assert own.classes[0].score == pytest.approx(means[own.target.index], rel=1e-5)


def test_an_embedding_is_compared_with_a_reference_picture(features: Path) -> None:
    frame, other = zoo.photograph("chelsea"), zoo.photograph("coffee")
    with explainer(features, "embed") as explained:
        with pytest.raises(UsageError, match=r"no reference that the embedding is compared with; give one"):
            explained(frame)
        explained.compare_with(other)
        reference = explained.embed(other).astype(np.float64)
        found = explained(frame)
        activations, gradients = arrays(explained)
        prediction = explained.predict(frame)
        explained.compare_with(prediction.probabilities.copy())
        same = explained.explain(prediction)

    length = np.linalg.norm(activations[0].astype(np.float64).mean(axis=(1, 2)))

    def cosine(a: NDArray[np.float64]) -> float:
        """The length of the embedding is a constant, as the score says."""
        return float(a[0].mean(axis=(1, 2)) @ reference / length / np.linalg.norm(reference))

    directions = np.random.default_rng(0).standard_normal((4, *activations.shape))
    expected = slopes(cosine, activations, directions)
    assert [np.vdot(gradients, d) for d in directions] == pytest.approx(expected, rel=1e-4, abs=1e-8)
    assert (found.target.label, found.target.logit) == ("similarity", pytest.approx(cosine(activations), rel=1e-5))
    assert same.target.logit == pytest.approx(1, abs=1e-6)
    assert 0.05 < found.target.logit < 0.6


def test_the_command_takes_a_reference_picture(features: Path, tmp_path: Path) -> None:
    explainer(features, "embed").close()
    for name in ("chelsea", "coffee"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), zoo.photograph(name))
    model, picture = features.with_name("embed.cam.onnx"), tmp_path / "coffee.png"
    call = ["explain", "-q", str(model), str(picture), "-o", str(tmp_path)]
    assert main([*call, "--reference", str(picture)]) == 0
    (same,) = json.loads((tmp_path / "coffee.cam.json").read_text())["targets"]
    assert (same["label"], same["score"]) == ("similarity", pytest.approx(1, abs=1e-5))
    assert main([*call, "--reference", str(tmp_path / "chelsea.png")]) == 0
    (other,) = json.loads((tmp_path / "coffee.cam.json").read_text())["targets"]
    assert other["score"] < 0.6
    assert main(call) == 1


def test_what_a_reference_must_be(features: Path) -> None:
    with explainer(features, "embed") as explained, pytest.raises(UsageError, match=r"got \(7,\) .* shape \(1280,\)"):
        explained.compare_with(np.zeros(7, np.float32))
    with explainer(features, "regress") as explained, pytest.raises(UsageError, match="its task is regress"):
        explained.compare_with(zoo.photograph("coffee"))


def text(words: str) -> NDArray[np.uint8]:
    """Words in black on a light page, 320 px."""
    page = np.full((320, 320, 3), 235, np.uint8)
    cv2.putText(page, words, (20, 200), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (20, 20, 20), 3, cv2.LINE_AA)
    return page


def test_a_mask_of_one_class(tmp_path: Path) -> None:
    """PP-OCRv4's detector of text: the mean logit where it sees text."""
    path = zoo.ocr_model("ppocr-v4-det")
    done = export_model(path, tmp_path / "det.onnx", task="segment", input_shapes={"x": (1, 3, 320, 320)})
    assert done.report is not None
    assert max(done.report.gradients.values()) < 0.05
    with Explainer(done.path, method="hirescam") as explained:
        found = explained(text("horizon"))
        tensor = explained._passes._tensor  # type: ignore[attr-defined]
    plain = onnx.load(path)
    (last,) = (node for node in plain.graph.node if node.output[0] == plain.graph.output[0].name)
    assert last.op_type == "Sigmoid"
    plain.graph.output.append(onnx.helper.make_empty_tensor_value_info(last.input[0]))
    (logits,) = run_ort(plain, {"x": tensor}, [last.input[0]])
    assert found.target.logit == pytest.approx(logits[logits > 0].mean(), rel=1e-4)
    (mask,) = found.masks
    assert mask.shape == (320, 320)
    np.testing.assert_array_equal(found.predicted[0], logits[0, 0] > 0)
    assert 0.5 < mask[150:220].sum() / mask.sum() <= 1
    (record,) = found.target_records()
    assert sum(part["area"] for part in record["mask"]) == mask.sum()
    assert (found.overlay() != found.overlay(boxes=False)).any()
    rows = found.map[0].sum(axis=1)
    assert rows[150:220].sum() > 0.5 * rows.sum()
