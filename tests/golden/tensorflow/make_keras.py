"""Makes classifier.onnx and segmenter.onnx by tf2onnx, from Keras networks with seeded weights, and their gradients.

The gradients of a class logit (of the mean logit over a class's mask) at several layers are TensorFlow's own
(`tf.GradientTape`), from the Keras network in float32; nothing of aerocam takes part. Needs tensorflow and tf2onnx,
and was run with tensorflow-cpu 2.21, Keras 3.15, tf2onnx 1.17:

    python tests/golden/tensorflow/make_keras.py
"""

from pathlib import Path

import numpy as np
import tensorflow as tf
import tf2onnx
from tensorflow import keras

HERE = Path(__file__).parent
SHAPE = (31, 32, 3)
TARGETS = {"classifier": 1, "segmenter": 2}
"""The class that is explained; the segmenter predicts it somewhere, but not everywhere."""

LAYERS = keras.layers


def classifier() -> keras.Model:
    """SAME padding at stride 2 of odd and even sizes, BatchNormalization, a depthwise convolution, a Dense head."""
    x = image = keras.Input(SHAPE, batch_size=1)
    x = LAYERS.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="stem")(x)
    x = LAYERS.BatchNormalization(name="norm")(x)
    x = LAYERS.DepthwiseConv2D(3, strides=2, padding="same", name="depthwise")(x)
    x = LAYERS.ReLU(6.0, name="relu6")(x)
    x = LAYERS.ZeroPadding2D(((0, 1), (0, 1)))(x)
    x = LAYERS.Conv2D(12, 3, activation="swish", name="last")(x)
    x = LAYERS.MaxPooling2D(2, padding="same", name="pool")(x)
    x = LAYERS.Dense(10, activation="relu")(LAYERS.Flatten()(x))
    return keras.Model(image, LAYERS.Dense(5, activation="softmax")(x))


def segmenter() -> keras.Model:
    """A map of classes at the input's size, softmax over the last axis."""
    x = image = keras.Input((32, 32, 3), batch_size=1)
    x = LAYERS.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="features")(x)
    y = LAYERS.Conv2D(8, 3, padding="same", activation="relu", name="inner")(x)
    x = LAYERS.Add(name="sum")([x, y])
    x = LAYERS.UpSampling2D(2, interpolation="bilinear")(x)
    return keras.Model(image, LAYERS.Conv2D(4, 1, activation="softmax")(x))


def write(name: str, network: keras.Model, layers: list[str]) -> None:
    """The ONNX file, and the gradients of the target's score at layers and input."""
    rng = np.random.default_rng(0)
    for layer in network.layers:
        if isinstance(layer, LAYERS.BatchNormalization):
            shift, scale = (lambda n: 0.1 * rng.standard_normal(n)), (lambda n: np.exp(0.2 * rng.standard_normal(n)))
            layer.set_weights([make(layer.gamma.shape[0]) for make in (scale, shift, shift, scale)])
    signature = (tf.TensorSpec(network.inputs[0].shape, tf.float32, name="input"),)
    call = tf.function(lambda x: network(x, training=False))
    tf2onnx.convert.from_function(call, signature, opset=15, output_path=str(HERE / f"{name}.onnx"))
    x = tf.constant(rng.standard_normal(network.inputs[0].shape).astype(np.float32))
    network.layers[-1].activation = keras.activations.linear
    inside = keras.Model(network.input, [*(network.get_layer(layer).output for layer in layers), network.output])
    with tf.GradientTape() as tape:
        tape.watch(x)
        *found, logits = inside(x, training=False)
        chosen = logits[..., TARGETS[name]]
        mask = (
            tf.cast(tf.argmax(logits, -1) == TARGETS[name], tf.float32) if name == "segmenter" else tf.ones_like(chosen)
        )
        score = tf.reduce_sum(chosen * mask) / tf.reduce_sum(mask)
    gradients = tape.gradient(score, [x, *found])
    arrays = {layer: g.numpy() for layer, g in zip(["input", *layers], gradients, strict=True)}
    assert np.isfinite(score)
    np.savez_compressed(HERE / f"{name}.npz", x=x.numpy(), score=score.numpy(), **arrays)


if __name__ == "__main__":
    keras.utils.set_random_seed(0)
    write("classifier", classifier(), ["stem", "norm", "depthwise", "relu6", "last", "pool"])
    write("segmenter", segmenter(), ["features", "inner", "sum"])
