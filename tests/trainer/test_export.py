"""Exports in reduced precision: the contract, what the card says of them, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("keras", exc_type=ImportError, reason="training needs Keras")
pytest.importorskip("onnx", exc_type=ImportError, reason="exporting needs onnx")
pytest.importorskip("tensorflow", exc_type=ImportError, reason="training needs TensorFlow")
pytest.importorskip("tf2onnx", exc_type=ImportError, reason="exporting needs tf2onnx")
pytest.importorskip("onnxruntime", exc_type=ImportError, reason="an export is proved with onnxruntime")

import keras
import onnx

from infer.card import read_card, write_card
from infer.errors import OptionError, OutputError
from infer.models import load_model
from infer.patch_engine import classify_samples
from trainer import export as export_module
from trainer.dataset import LabelledSection
from trainer.evaluate import score_parts
from trainer.export import Export, export
from trainer.fit import fit
from trainer.graph import ExportError, check_graph, to_onnx
from trainer.picks import PicksError
from trainer.precision import in_precision, to_int8
from trainer.proof import Evidence, prove
from trainer.request import FitRequest, prepare
from trainer.runs import Run


@pytest.fixture(scope="module")
def picks(tiny_picks: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Picks that may be moved away."""
    path = tmp_path_factory.mktemp("picks") / "tiny.ixz"
    path.write_bytes(tiny_picks.read_bytes())
    return path


@pytest.fixture(scope="module")
def run(tiny_survey: Path, picks: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose network has learned something: where every facies is as probable, agreement says nothing."""
    prepared = prepare(FitRequest("waldeland", tiny_survey, (picks,), epochs=1, seed=5, split="random"))
    run = fit(prepared, Run(tmp_path_factory.mktemp("run")))
    labelled = LabelledSection.of(prepared.section, prepared.amplitude_clip, prepared.placed)
    model = keras.models.load_model(run.model, compile=False)
    model.compile("adam", "categorical_crossentropy")
    train = prepared.split.train
    one_hot = np.eye(9, dtype=np.float32)[prepared.placed.facies[train]]
    model.fit(labelled.patches(train, 64), one_hot, batch_size=16, epochs=20, verbose=0)
    model.save(run.model)
    accuracy = score_parts(model, labelled, prepared.split)["test"].accuracy
    run.write_card(replace(run.read_card(), scores={"test_accuracy": round(accuracy, 6)}))
    return run


@pytest.fixture(scope="module", params=["fp16", "int8"])
def reduced(run: Run, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Export:
    return export("waldeland", run.folder, tmp_path_factory.mktemp(request.param), precision=request.param)


def test_reduced_precision_keeps_the_contract(reduced: Export) -> None:
    model = onnx.load(reduced.path)
    for value, name, sizes in (
        (model.graph.input[0], "patches", ["batch", 64, 64]),
        (model.graph.output[0], "probabilities", ["batch", 9]),
    ):
        tensor = value.type.tensor_type
        assert (value.name, tensor.elem_type) == (name, onnx.TensorProto.FLOAT)
        assert [dim.dim_param or dim.dim_value for dim in tensor.shape.dim] == sizes
    scaled = np.random.default_rng(0).uniform(-1, 1, (7, 5)).astype(np.float32)
    probabilities = classify_samples(scaled, np.arange(7), np.arange(5), load_model(reduced.path, "cpu"), 3)
    np.testing.assert_allclose(probabilities.sum(axis=0), np.ones((7, 5)), atol=2e-3)


def test_reduced_precision_is_in_the_graph(reduced: Export, run: Run, tmp_path: Path) -> None:
    model = onnx.load(reduced.path)
    steps = [node.op_type for node in model.graph.node]
    weights = {onnx.TensorProto.DataType.Name(w.data_type) for w in model.graph.initializer if len(w.dims) == 4}
    if reduced.card.precision == "fp16":
        assert (weights, steps.count("Cast"), "QuantizeLinear" in steps) == ({"FLOAT16"}, 2, False)
        return
    assert weights == {"INT8"}
    assert (steps.count("Conv"), steps.count("QuantizeLinear")) == (5, 6)
    of_channels = [w for w in model.graph.initializer if w.name.endswith("_scale") and w.dims == [50]]
    assert len(of_channels) == 10  # five layers' weights, and their biases
    head = [w for w in model.graph.initializer if len(w.dims) == 2]
    assert [w.data_type for w in head] == [onnx.TensorProto.FLOAT] * 3
    assert reduced.path.stat().st_size < export("waldeland", run.folder, tmp_path).path.stat().st_size / 2


def test_the_card_says_precision_and_what_was_measured(reduced: Export, run: Run) -> None:
    card = read_card(reduced.path)
    assert card == reduced.card
    assert card.weights_sha256 == run.read_card().weights_sha256
    scores, trained = card.scores, run.read_card().scores
    assert scores["test_accuracy"] == trained["test_accuracy"] > 0.6  # it has learned something
    assert (scores["agreement_patches"], scores["exported_test_picks"]) == (1200, 150)
    assert min(scores["agreement"], scores["test_agreement"]) >= 0.99
    assert scores["keras_test_accuracy"] == pytest.approx(trained["test_accuracy"], abs=1e-6)  # 150 are all test picks
    assert abs(scores["exported_test_accuracy"] - scores["keras_test_accuracy"]) <= 0.01


def test_the_report_has_size_agreement_and_accuracies(reduced: Export, run: Run) -> None:
    percent = r"\d+\.\d\d%"
    assert re.fullmatch(
        rf"Wrote {re.escape(str(reduced.path))} \({reduced.card.precision}, 0\.[12] MB\) from "
        rf"{re.escape(str(run.folder))}\.\nIts facies are Keras' on {percent} of 1,200 patches over the line, and on "
        rf"{percent} of 150 test picks; accuracy on these {percent}, in Keras {percent}\.",
        reduced.report(),
    )


def test_a_model_that_disagrees_is_refused_and_leaves_no_file(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def badly(onnx_model: onnx.ModelProto, precision: str, calibration: np.ndarray) -> onnx.ModelProto:
        return in_precision(onnx_model, precision, calibration / 1000)  # all activations are clipped

    monkeypatch.setattr(export_module, "in_precision", badly)
    with pytest.raises(ExportError) as caught:
        export("waldeland", run.folder, tmp_path / "exported", precision="int8")
    assert re.fullmatch(
        r"The model in int8 is too far from the one that was trained: [\d,]+ of 1,200 patches over the line have "
        r"another facies than in Keras, and \d+ of 150 test picks; 1% is allowed\. No file was written\. "
        r"`--precision fp16` is closer\.",
        str(caught.value),
    )
    assert list((tmp_path / "exported").iterdir()) == []


def test_what_is_not_a_number_has_no_facies(run: Run, tmp_path: Path) -> None:
    model = keras.models.load_model(run.model, compile=False)
    broken = to_onnx(model)
    (offset,) = (w for w in broken.graph.initializer if w.dims == [9])
    offset.CopyFrom(onnx.numpy_helper.from_array(np.full(9, np.nan, np.float32), offset.name))
    onnx.save(broken, tmp_path / "broken.onnx")
    patches = np.zeros((3, 64, 64), np.float32)
    evidence = Evidence(patches, patches, np.zeros(3, np.int8), patches)
    with pytest.raises(ExportError) as caught:
        prove(tmp_path / "broken.onnx", model, evidence, "fp16")
    assert str(caught.value) == (
        "The model in fp16 is too far from the one that was trained: 3 of 3 patches over the line have another facies "
        "than in Keras, and 3 of 3 test picks; 1% is allowed. No file was written. `--precision fp32` is closer."
    )


def test_an_unknown_precision_is_named(tmp_path: Path) -> None:
    with pytest.raises(OptionError) as caught:
        export("waldeland", tmp_path, precision="int4")
    assert str(caught.value) == "There is no precision 'int4'. There are: fp32, fp16, int8."


@pytest.fixture
def without_picks(picks: Path) -> Iterator[Path]:
    aside = picks.rename(picks.with_suffix(".aside"))
    yield picks
    aside.rename(picks)


def test_picks_are_needed_for_reduced_precision_only(run: Run, tmp_path: Path, without_picks: Path) -> None:
    with pytest.raises(PicksError) as caught:
        export("waldeland", run.folder, tmp_path, precision="int8")
    assert str(caught.value) == (
        "A model in int8 is measured on the picks that the network was trained on, and they cannot be read: There is "
        f"no picks file at {without_picks}. Put them back there, or export in fp32, which does without them."
    )
    assert list(tmp_path.iterdir()) == []
    assert export("waldeland", run.folder, tmp_path).card.scores["agreement"] == 1


def test_the_same_network_in_another_precision_is_another_model(run: Run, tmp_path: Path) -> None:
    path = export("waldeland", run.folder, tmp_path, precision="fp16").path
    before = path.read_bytes()
    with pytest.raises(OutputError) as caught:
        export("waldeland", run.folder, tmp_path)
    assert str(caught.value) == (
        f"There is the same network in fp16 at {path}, and it stays as it is. Give the new one a name of its own with "
        "`--name OTHER`, or put it in the place of the old one with `--replace`."
    )
    assert path.read_bytes() == before
    export("waldeland", run.folder, tmp_path, precision="fp16")
    export("waldeland", run.folder, tmp_path, replace_other=True)
    assert read_card(path).precision == "fp32"
    write_card(path, replace(read_card(path), precision="fp16", weights_sha256=""))
    with pytest.raises(OutputError, match=r"^There is another model at "):
        export("waldeland", run.folder, tmp_path, precision="fp16")


def _residual(patch_size: int) -> keras.Model:
    """A small network in the manner of ResNet50: residual sums, normalisation after pooling, a head."""
    layers = keras.layers
    patches = layers.Input((patch_size, patch_size), name="patches")
    x = layers.Reshape((patch_size, patch_size, 1))(patches)
    x = layers.Conv2D(4, 3, strides=2, padding="same")(layers.Rescaling(127.5, [20.0])(x))
    for _ in range(2):
        y = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(x)))
        y = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(y))
        x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.ReLU()(layers.BatchNormalization(name="vector")(layers.GlobalAveragePooling2D()(x)))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Dense(10)(x)))
    return keras.Model(patches, layers.Softmax(name="probabilities")(layers.Dense(3)(x)))


def test_sums_of_maps_are_quantised_and_the_head_is_not() -> None:
    keras.utils.set_random_seed(4)
    model = _residual(16)
    rng = np.random.default_rng(0)
    model.set_weights([w + rng.uniform(0, 0.1, w.shape).astype(np.float32) for w in model.get_weights()])
    patches = rng.uniform(-1, 1, (40, 16, 16)).astype(np.float32)
    float32 = to_onnx(model)
    quantised = to_int8(float32, patches)
    check_graph(quantised)
    constants = {constant.name for constant in quantised.graph.initializer}
    made_by = {output: node.op_type for node in quantised.graph.node for output in node.output}
    sums = [node for node in quantised.graph.node if node.op_type == "Add" and constants.isdisjoint(node.input)]
    assert [{made_by[name] for name in node.input} for node in sums] == [{"DequantizeLinear"}] * 2
    head = [node for node in quantised.graph.node if node.op_type == "MatMul"]
    assert [made_by[node.input[0]] for node in head] == ["Relu", "Relu"]
    steps = [node.op_type for node in quantised.graph.node]
    assert (steps.count("Conv"), steps.count("Relu")) == (5, 2)  # the head's


def test_what_only_training_needs_is_refused() -> None:
    sizes = [("patches", ["batch", 4, 4]), ("probabilities", ["batch", 4, 4])]
    patches, probabilities = (onnx.helper.make_tensor_value_info(name, 1, shape) for name, shape in sizes)
    statistics = [onnx.numpy_helper.from_array(np.ones(4, np.float32), name) for name in "abcd"]
    outputs = ["probabilities", "mean", "variance"]
    node = onnx.helper.make_node("BatchNormalization", ["patches", *"abcd"], outputs, training_mode=1)
    graph = onnx.helper.make_graph([node], "trains", [patches], [probabilities], statistics)
    with pytest.raises(ExportError) as caught:
        check_graph(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)]))
    assert str(caught.value) == "The exported graph still has nodes that only training needs: BatchNormalization."
    del node.output[1:]
    node.attribute[0].i = 0  # with the statistics of training, it infers
    graph = onnx.helper.make_graph([node], "infers", [patches], [probabilities], statistics)
    check_graph(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)]))
