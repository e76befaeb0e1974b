"""A network as an ONNX graph by the patch model's contract, without what only training needs."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from numpy.typing import NDArray

from infer.errors import InferError

OPSET = 18
"""The newest that tf2onnx 1.17 writes. Every onnxruntime since 1.14 (2023) reads it."""


class ExportError(InferError, ValueError):
    """The exported model is not the network that was trained, or is not by the contract."""


def to_onnx(model: keras.Model) -> Any:
    """The network as an onnx.ModelProto by the patch model's contract: `patches` in, `probabilities` out.

    Raises ExportError: something of training is left in its graph.
    """
    inference = fold_normalisation(model)
    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name="patches")]
    function = tf.function(lambda patches: {"probabilities": inference(patches, training=False)}, signature)
    onnx_model, _ = tf2onnx.convert.from_function(function, signature, opset=OPSET)
    onnx_model.graph.name, onnx_model.graph.doc_string = model.name, ""
    for value in (*onnx_model.graph.input, *onnx_model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    check_graph(onnx_model)
    return onnx_model


def fold_normalisation(model: keras.Model) -> keras.Model:
    """The same network for inference, in fewer steps.

    Batch normalisation that directly follows a linear convolution or dense layer (with or without dropout between)
    becomes part of that layer's weights; dropout goes. Normalisation elsewhere stays. Reshaping takes the batch as it
    comes, where Keras asks for its size: of that tf2onnx 1.17 leaves a part in about one export of a hundred.
    """
    folded = {layer.name: after for layer in model.layers if (after := _normalisation_after(layer)) is not None}
    gone = {after.name for after in folded.values()}

    def clone(layer: Any) -> Any:
        if layer.name in gone or isinstance(layer, keras.layers.Dropout):
            return _Nothing(name=layer.name)
        if isinstance(layer, (keras.layers.Reshape, keras.layers.Flatten)):
            return _Reshape(layer.output.shape[1:], name=layer.name)
        bias = {"use_bias": True} if layer.name in folded else {}
        return layer.__class__.from_config(layer.get_config() | bias)

    inference = keras.models.clone_model(model, clone_function=clone)
    for layer in model.layers:
        if layer.name in folded:
            inference.get_layer(layer.name).set_weights(_folded_weights(layer, folded[layer.name]))
        elif layer.weights and layer.name not in gone:
            inference.get_layer(layer.name).set_weights(layer.get_weights())
    return inference


class _Nothing(keras.layers.Layer):  # type: ignore[misc]
    """In the place of a layer that went: takes the arguments of any, and gives its input. ONNX never sees it."""

    def call(self, inputs: Any, mask: Any = None, training: Any = None) -> Any:  # noqa: ARG002
        return inputs


class _Reshape(keras.layers.Layer):  # type: ignore[misc]
    """Each patch in that shape, however many there are."""

    def __init__(self, shape: tuple[int, ...], **given: Any) -> None:
        super().__init__(**given)
        self._shape = shape

    def call(self, inputs: Any) -> Any:
        return tf.reshape(inputs, (-1, *self._shape))


def _normalisation_after(layer: Any) -> Any | None:
    """The batch normalisation that alone takes what the layer gives, if the layer is one to fold it into."""
    if not isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense)):
        return None
    if layer.activation is not keras.activations.linear or isinstance(layer, keras.layers.DepthwiseConv2D):
        return None
    after = _only_consumer(layer)
    while isinstance(after, keras.layers.Dropout):
        after = _only_consumer(after)
    return after if isinstance(after, keras.layers.BatchNormalization) else None


def _only_consumer(layer: Any) -> Any | None:
    consumers = layer._outbound_nodes
    return consumers[0].operation if len(consumers) == 1 else None


def _folded_weights(layer: Any, normalisation: Any) -> list[NDArray[np.float32]]:
    """Kernel and bias that do what the layer and the normalisation after it do; worked out in float64."""
    kernel = np.asarray(layer.kernel, np.float64)
    bias = np.asarray(layer.bias, np.float64) if layer.use_bias else 0.0
    deviation = np.sqrt(np.asarray(normalisation.moving_variance, np.float64) + normalisation.epsilon)
    scale = (np.asarray(normalisation.gamma, np.float64) if normalisation.scale else 1.0) / deviation
    offset = np.asarray(normalisation.beta, np.float64) if normalisation.center else 0.0
    mean = np.asarray(normalisation.moving_mean, np.float64)
    return [(kernel * scale).astype(np.float32), ((bias - mean) * scale + offset).astype(np.float32)]


def check_graph(onnx_model: Any) -> None:
    """Raise ExportError where a graph is not by the contract, or trains. onnx.checker raises errors of its own."""
    onnx.checker.check_model(onnx_model, full_check=True)
    graph = onnx_model.graph
    names = [value.name for value in (*graph.input, *graph.output)]
    if names != ["patches", "probabilities"]:
        raise ExportError(f"An exported model takes patches and gives probabilities; this one has {', '.join(names)}.")
    left_over = sorted({node.op_type for node in graph.node if _only_trains(node)})
    if left_over:
        raise ExportError(f"The exported graph still has nodes that only training needs: {', '.join(left_over)}.")


def _only_trains(node: Any) -> bool:
    """Normalisation that cannot be folded stays, and with the statistics of training it infers."""
    trains = any(attribute.name == "training_mode" and attribute.i for attribute in node.attribute)
    return trains or node.op_type in ("Identity", "Dropout")
