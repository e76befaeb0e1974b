"""Turns a run into an .onnx file by the patch model's contract, after proving it to be the network that was trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import keras
import numpy as np
import onnx
import onnxruntime
import tensorflow as tf
import tf2onnx
from numpy.typing import NDArray

from infer.amplitude import scale_amplitude
from infer.card import ModelCard, write_card
from infer.errors import InferError, SurveyNotFoundError
from infer.patches import cut_patches
from infer.section import Section
from infer.survey import open_survey
from trainer.runs import Run, RunError, find_run, writing
from trainer.shelf import EXPORTED, place_for

OPSET = 18
"""The newest that tf2onnx 1.17 writes. Every onnxruntime since 1.14 (2023) reads it."""

TOLERANCE = 1e-4
PROOF_GRID = (40, 30)
"""Traces and samples of the training line, evenly spread with its edges: 1,200 patches to prove an export on."""

_TRAINING_ONLY = {"Identity", "Dropout", "BatchNormalization"}


class ExportError(InferError, ValueError):
    """The exported model is not the network that was trained, or is not by the contract."""


@dataclass(frozen=True)
class Export:
    """An exported model, and what its proof showed."""

    path: Path
    run: Run
    patches: int
    max_difference: float  # of probabilities


def export(
    network: str,
    run_folder: Path | None = None,
    out: Path = EXPORTED,
    name: str = "",
    survey: Path | None = None,
    *,
    replace_other: bool = False,
) -> Export:
    """Write `out/<name>.onnx` from the newest run of `network`, or the one in `run_folder`.

    name: of the model and its file; the card's by default.
    survey: where the training survey is, if it has moved since.
    replace_other: also where a model with other weights has that name already.

    Raises RunError: no such run. SurveyNotFoundError: the survey has moved. OutputError: it cannot be written there.
    ExportError: the proof failed; no file is left then.
    """
    run = find_run(network, run_folder)
    card = run.read_card()
    card = replace(card, name=name or card.name, libraries=card.libraries | _libraries())
    path = place_for(card, out, replace=replace_other)
    section = _training_section(run, survey)
    patches = proof_patches(section, card)
    model = _network(run)
    onnx_model = to_onnx(model)
    with writing(path) as temporary:
        onnx.save(onnx_model, temporary)
        write_card(temporary, card)
        difference = prove(temporary, model, patches)
    return Export(path, run, len(patches), difference)


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
    _check(onnx_model)
    return onnx_model


def fold_normalisation(model: keras.Model) -> keras.Model:
    """The same network for inference, in fewer steps.

    Batch normalisation that directly follows a linear convolution or dense layer (with or without dropout between)
    becomes part of that layer's weights; dropout goes. Normalisation elsewhere stays.
    """
    folded = {layer.name: after for layer in model.layers if (after := _normalisation_after(layer)) is not None}
    gone = {after.name for after in folded.values()}

    def clone(layer: Any) -> Any:
        if layer.name in gone or isinstance(layer, keras.layers.Dropout):
            return _Nothing(name=layer.name)
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


def _check(onnx_model: Any) -> None:
    onnx.checker.check_model(onnx_model, full_check=True)
    graph = onnx_model.graph
    names = [value.name for value in (*graph.input, *graph.output)]
    if names != ["patches", "probabilities"]:
        raise ExportError(f"An exported model takes patches and gives probabilities; this one has {', '.join(names)}.")
    left_over = sorted({node.op_type for node in graph.node} & _TRAINING_ONLY)
    if left_over:
        raise ExportError(f"The exported graph still has nodes that only training needs: {', '.join(left_over)}.")


def proof_patches(section: Section, card: ModelCard) -> NDArray[np.float32]:
    """Real patches `[patch, P, P]` spread over the live traces of a section, its edges and corners included."""
    live = np.flatnonzero(section.live)
    traces = np.unique(np.linspace(0, live.size - 1, PROOF_GRID[0]).round().astype(int))
    samples = np.unique(np.linspace(0, section.shape[1] - 1, PROOF_GRID[1]).round().astype(int))
    trace, sample = np.meshgrid(live[traces], samples, indexing="ij")
    scaled = scale_amplitude(section.amplitude, card.amplitude_clip or 1.0)
    return cut_patches(scaled, trace.ravel(), sample.ravel(), card.patch_size)


def prove(path: Path, model: keras.Model, patches: NDArray[np.float32]) -> float:
    """How far the probabilities of the .onnx file at `path` are from the Keras model's on these patches, at most.

    Raises ExportError: further than `TOLERANCE`, or another facies anywhere.
    """
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    (ours,) = session.run(["probabilities"], {"patches": patches})
    theirs = np.asarray(model.predict(patches, batch_size=256, verbose=0))
    difference = float(np.abs(ours - theirs).max())
    other = int(np.count_nonzero(ours.argmax(axis=1) != theirs.argmax(axis=1)))
    if not difference <= TOLERANCE or other:
        raise ExportError(
            f"The exported model is not the one that was trained: on {len(patches):,} patches its probabilities are "
            f"up to {difference:.2g} away from Keras' ({TOLERANCE:g} is allowed), and {other:,} have another facies. "
            "No file was written."
        )
    return difference


def _network(run: Run) -> keras.Model:
    try:
        return keras.models.load_model(run.model, compile=False)
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise RunError(f"{run.model} cannot be read: fit the network again.") from error


def _training_section(run: Run, survey: Path | None) -> Section:
    settings = run.read_settings()
    try:
        return open_survey(survey or Path(settings.survey)).read_line(settings.line_kind, settings.line_number)
    except SurveyNotFoundError as error:
        raise SurveyNotFoundError(
            f"The export is proved on patches of the survey that the network was trained on, and there is no file at "
            f"{survey or settings.survey}. Say where it is now: `trainer export {settings.network} --survey CUBE.sgy`."
        ) from error


def _libraries() -> dict[str, str]:
    return {
        "tf2onnx": tf2onnx.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
        "opset": str(OPSET),
    }
