"""Features of a whole section, in the place of patches: vgg16-context from end to end, with few channels."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("keras", exc_type=ImportError, reason="training needs Keras")
pytest.importorskip("onnx", exc_type=ImportError, reason="frozen layers are compiled with onnx")
pytest.importorskip("tensorflow", exc_type=ImportError, reason="training needs TensorFlow")
pytest.importorskip("tf2onnx", exc_type=ImportError, reason="frozen layers are compiled with tf2onnx")
pytest.importorskip("onnxruntime", exc_type=ImportError, reason="features are computed with onnxruntime")
pytest.importorskip("matplotlib", exc_type=ImportError, reason="training draws its curves with Matplotlib")

import keras
from keras import layers

from infer.card import read_card
from infer.errors import OutputError
from infer.patches import cut_patches
from trainer import features as features_module
from trainer import fit as fit_module
from trainer import proof as proof_module
from trainer import recipes, slice_export
from trainer.augmentation import Augmentation, SectionCopy
from trainer.dataset import LabelledSection, PatchBatches, TrainingBatches
from trainer.evaluate import evaluate, score_parts
from trainer.export import export
from trainer.features import FEATURES, Cut, LabelledFeatures, feature_map, trained_part, whole_network
from trainer.fit import fit
from trainer.networks import find_network
from trainer.request import FitRequest, Prepared, prepare
from trainer.runs import Run, find_unfinished_run, new_run, prepare_again
from trainer.saved import load_network
from trainer.slice_export import export_slice
from trainer.trained import find_trained

MIRRORED = SectionCopy(mirror=True)
ROUNDING = {"rtol": 2e-3, "atol": 2e-3}
"""What float16 leaves."""


def small_vgg16(include_top: bool, weights: str | None, input_tensor: Any = None) -> keras.Model:
    """VGG16 with as many layers of the same names, and hardly a channel."""
    assert (include_top, weights) == (False, None)
    x = given = layers.Input((None, None, 3)) if input_tensor is None else input_tensor
    for block, (convolutions, channels) in enumerate(((2, 3), (2, 4), (3, 4), (3, 6), (3, 6)), 1):
        for number in range(1, convolutions + 1):
            name = f"block{block}_conv{number}"
            x = layers.Conv2D(channels, 3, activation="relu", padding="same", name=name)(x)
        x = layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
    return keras.Model(given, x)


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(keras.applications, "VGG16", small_vgg16)
        patched.setattr(features_module, "TILE", 90)
        for name, recipe in recipes.RECIPES["vgg16-context"].items():
            shorter = replace(recipe, epochs=2, per_epoch=96, validated=20, scored=12, restated=96)
            patched.setitem(recipes.RECIPES["vgg16-context"], name, shorter)
        yield


def asked(survey: Path, picks: Path, **other: Any) -> FitRequest:
    given = {"seed": 5, "split": "random", "weights": "random"} | other
    return FitRequest("vgg16-context", survey, (picks,), **given)


@pytest.fixture(scope="module")
def prepared(tiny_survey: Path, tiny_picks: Path) -> Prepared:
    return prepare(asked(tiny_survey, tiny_picks))


@pytest.fixture(scope="module")
def labelled(prepared: Prepared) -> LabelledSection:
    return LabelledSection.of(prepared.section, prepared.amplitude_clip, prepared.placed)


@pytest.fixture(scope="module")
def network() -> keras.Model:
    keras.utils.set_random_seed(4)
    return find_network("vgg16-context").built()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("features") / FEATURES


@pytest.fixture(scope="module")
def looked_up(labelled: LabelledSection, network: keras.Model, folder: Path) -> LabelledFeatures:
    _, seen = trained_part(network, labelled, recipes.find_recipe("vgg16-context"), folder, (MIRRORED,))
    assert isinstance(seen, LabelledFeatures)
    return seen


SOME = np.array([0, 9, 123, 300, 590, 599])
"""Picks, those in the section's corners among them."""


@pytest.mark.parametrize(
    ("layer", "reach", "step", "positions"),
    [("block1_pool", 6, 2, 120), ("block3_pool", 44, 8, 26), ("block4_pool", 100, 16, 10), ("block5_pool", 212, 32, 2)],
)
def test_what_a_vector_sees_and_how_far_it_is_to_the_next(
    network: keras.Model, layer: str, reach: int, step: int, positions: int
) -> None:
    cut = Cut.after(network, layer)
    assert (cut.reach, cut.step, cut.positions) == (reach, step, positions)
    assert network.get_layer(layer).output.shape == (None, positions, positions, cut.channels)
    assert cut.frozen().output_shape == (None, cut.channels)


def in_keras(network: keras.Model, layer: str, patches: np.ndarray) -> np.ndarray:
    return np.asarray(keras.Model(network.input, network.get_layer(layer).output)(patches))


@pytest.mark.parametrize("layer", ["block4_pool", "block5_pool"])
def test_features_looked_up_are_those_of_the_patches(
    layer: str, network: keras.Model, labelled: LabelledSection, folder: Path
) -> None:
    found = feature_map(Cut.after(network, layer), labelled.scaled, folder)
    traces, samples = labelled.picks.trace[SOME], labelled.picks.sample[SOME]
    assert {(0, 0), (59, 45)} <= set(zip(traces.tolist(), samples.tolist(), strict=True))
    expected = in_keras(network, layer, labelled.patches(SOME, 244))
    assert expected.max() > 0.5
    np.testing.assert_allclose(found.windows(traces, samples), expected, **ROUNDING)


def test_picks_are_seen_in_copies_of_the_section_too(
    network: keras.Model, labelled: LabelledSection, looked_up: LabelledFeatures
) -> None:
    mirrored = np.ascontiguousarray(labelled.scaled[::-1])
    patches = cut_patches(mirrored, 59 - labelled.picks.trace[SOME], labelled.picks.sample[SOME], 244)
    expected = [in_keras(network, "block4_pool", shown) for shown in (labelled.patches(SOME, 244), patches)]
    chosen = []
    for seed in range(4):
        found = looked_up.changed_patches(SOME, 244, Augmentation(mix=1.0), np.random.default_rng(seed))
        chosen.append(
            [next(n for n in (0, 1) if np.allclose(f, expected[n][k], **ROUNDING)) for k, f in enumerate(found)]
        )
    assert 4 < np.sum(chosen) < 20
    np.testing.assert_allclose(looked_up.patches(SOME, 244), expected[0], **ROUNDING)


def test_a_mirrored_copy_has_its_traces_in_reverse_order() -> None:
    scaled = np.array([[0.5, -1.0], [0.25, 0.0]], np.float32)
    assert SectionCopy(mirror=True).of(scaled).tolist() == [[0.25, 0], [0.5, -1]]
    assert SectionCopy(mirror=True).traces(np.array([0, 1]), 2).tolist() == [1, 0]
    assert SectionCopy().of(scaled).tolist() == scaled.tolist()


def test_what_is_trained_gives_on_features_what_the_network_gives_on_patches(
    network: keras.Model, labelled: LabelledSection, looked_up: LabelledFeatures
) -> None:
    part = Cut.after(network, "block4_pool").trained()
    found = part(looked_up.patches(SOME, 244))
    np.testing.assert_allclose(found, network(labelled.patches(SOME, 244)), atol=2e-3)
    other = keras.models.clone_model(part)
    other.set_weights([weights + 0.01 for weights in part.get_weights()])
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    joined = whole_network(copy, other)
    assert joined is copy
    np.testing.assert_allclose(
        joined(labelled.patches(SOME, 244)), other(looked_up.patches(SOME, 244)), rtol=1e-2, atol=2e-3
    )
    assert whole_network(network, network) is network


def test_scores_through_features_are_scores_through_patches(
    prepared: Prepared, network: keras.Model, labelled: LabelledSection, looked_up: LabelledFeatures
) -> None:
    by_patches = score_parts(network, labelled, prepared.split, 12)
    by_features = score_parts(Cut.after(network, "block4_pool").trained(), looked_up, prepared.split, 12)
    for part, scores in by_patches.items():
        assert by_features[part].loss == pytest.approx(scores.loss, abs=2e-3)
        assert by_features[part].patches == scores.patches == 12


def test_features_are_mixed_as_patches_are(looked_up: LabelledFeatures) -> None:
    batches = TrainingBatches(looked_up, SOME, 244, 6, seed=1, augmentation=Augmentation(mix=0.5))
    features, facies = batches[0]
    assert features.shape == (6, 10, 10, 6)
    np.testing.assert_allclose(facies.sum(axis=1), 1, rtol=1e-6)
    plain, _ = PatchBatches(looked_up, SOME, 244)[0]
    assert features.max() <= plain.max() * 1.5


def test_features_are_computed_once_for_what_they_depend_on(
    network: keras.Model, labelled: LabelledSection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut, said = Cut.after(network, "block1_pool"), list[str]()
    first = feature_map(cut, labelled.scaled, tmp_path / "made", said.append)
    [path] = (tmp_path / "made").iterdir()
    assert said == [f"Computing block1_pool of the whole section, to keep it in {tmp_path / 'made'}."]
    assert path.stat().st_size == 128 + 2 * (60 + 238) * (50 + 238) * 3
    assert first.vectors.dtype == np.float16
    assert isinstance(first.vectors, np.memmap)
    computed: list[str] = []

    def compute(*_: Any) -> None:
        computed.append("again")

    monkeypatch.setattr(features_module, "_compute", compute)
    again = feature_map(cut, labelled.scaled, tmp_path / "made", said.append)
    np.testing.assert_array_equal(again.vectors, first.vectors)
    assert (computed, len(said)) == ([], 1)
    feature_map(cut, labelled.scaled * np.float32(0.5), tmp_path / "made")
    feature_map(Cut.after(network, "block2_pool"), labelled.scaled, tmp_path / "made")
    other = keras.models.clone_model(network)
    other.set_weights(network.get_weights())
    feature_map(Cut.after(other, "block1_pool"), labelled.scaled, tmp_path / "made")
    assert len(computed) == 2
    other.get_layer("block1_conv2").bias.assign(np.ones(3))
    feature_map(Cut.after(other, "block1_pool"), labelled.scaled, tmp_path / "made")
    other.get_layer("facies").bias.assign(np.ones(9))
    feature_map(Cut.after(other, "block1_pool"), labelled.scaled, tmp_path / "made")
    assert (len(computed), len(list((tmp_path / "made").iterdir()))) == (3, 4)


def test_a_disk_without_room_is_said_and_nothing_is_left(
    network: keras.Model, labelled: LabelledSection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 0))
    with pytest.raises(OutputError) as caught:
        feature_map(Cut.after(network, "block5_pool"), labelled.scaled, tmp_path)
    assert str(caught.value) == f"The features of the section take 0 MB, and {tmp_path} has no room for them."
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module", params=["default", "quick"])
def run(request: pytest.FixtureRequest, tiny_survey: Path, tiny_picks: Path, tmp_path_factory: Any) -> Run:
    folder = tmp_path_factory.mktemp(request.param) / "run"
    wanted = asked(tiny_survey, tiny_picks, recipe=request.param)
    return fit(prepare(wanted), new_run("vgg16-context", folder))


def test_a_run_leaves_the_whole_network_and_its_scores(run: Run, prepared: Prepared, labelled: LabelledSection) -> None:
    network, recipe = load_network(run), run.read_settings().request.recipe
    assert network.input_shape == (None, 244, 244)
    keras.utils.set_random_seed(5)
    initial = find_network("vgg16-context").built()
    moved = [
        layer.name
        for layer in network.layers
        if layer.weights and not np.array_equal(layer.get_weights()[0], initial.get_layer(layer.name).get_weights()[0])
    ]
    head = ["dense", "dense_normalised", "facies", "facies_normalised"]
    block5 = [f"block5_conv{n}" for n in (1, 2, 3)] if recipe == "default" else []
    assert moved == [*block5, *head]
    scores = json.loads(run.scores.read_text())
    for part, by_patches in score_parts(network, labelled, prepared.split, 12).items():
        assert scores[part]["loss"] == pytest.approx(by_patches.loss, abs=5e-3)
    assert len(list((run.folder.parent / FEATURES).iterdir())) == {"default": 2, "quick": 1}[recipe]
    card = run.read_card()
    assert (card.patch_size, card.network, card.name) == (244, "vgg16-context", "vgg16-context")
    assert not run.checkpoints()


def test_frozen_layers_at_random_are_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepared: Prepared
) -> None:
    monkeypatch.setattr(fit_module, "_train_and_score", lambda *_: None)
    said: list[str] = []
    fit(prepared, new_run("vgg16-context", tmp_path / "random"), said.append)
    assert said == [
        "Warning: the layers up to block4_pool start from random weights and stay as they are, so that little can be "
        "learnt: give ImageNet's with --weights."
    ]
    for network, weights in (("vgg16-context", "imagenet"), ("vgg16", "random")):
        request = replace(prepared.request, network=network, weights=weights)
        fit(replace(prepared, request=request), new_run(network, tmp_path / weights / network), said.append)
    assert len(said) == 1


def test_a_run_is_evaluated_through_the_features_that_it_left(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features_module, "_compute", None)
    before = json.loads(run.scores.read_text())
    [trained] = find_trained([run.folder])
    scores = evaluate(trained)
    assert scores["test"].confusion == before["test"]["confusion"]


def test_a_killed_training_on_features_goes_on_where_it_was(
    tmp_path: Path, fit_until_killed: Callable[[FitRequest, Path], None], tiny_survey: Path, tiny_picks: Path
) -> None:
    request = asked(tiny_survey, tiny_picks, epochs=3)
    whole = fit(prepare(request), new_run("vgg16-context", tmp_path / "whole"))
    fit_until_killed(request, tmp_path / "killed")
    run = find_unfinished_run("vgg16-context", tmp_path / "killed")
    assert run.epochs_done() == 2
    resumed = fit(prepare_again(run), run)
    rows = [np.loadtxt(each.history, delimiter=",", skiprows=1)[:, :5] for each in (whole, resumed)]
    np.testing.assert_allclose(*rows, rtol=1e-3, atol=1e-5)
    for ours, theirs in zip(load_network(resumed).get_weights(), load_network(whole).get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def test_it_is_exported_as_a_patch_model_and_as_a_slice_model(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = load_network(run)
    monkeypatch.setattr(proof_module, "PROOF_MULTIPLY_ADDS", 30 * multiply_adds(network))
    monkeypatch.setattr(slice_export, "PROOF_MULTIPLY_ADDS", 0)
    done = export("vgg16-context", run.folder, tmp_path)
    assert (done.path.name, done.proof.line.patches) == ("vgg16-context.onnx", 6 * 4)
    sliced = export_slice(done.path)
    assert (sliced.samples, sliced.other) == (100, 0)
    of_kernels = [w.size for w in network.get_weights() if w.ndim in (2, 4)]
    assert sliced.graph.slice_multiply_adds == sum(of_kernels)  # every layer once a sample: all of it is shared
    assert read_card(sliced.path).patch_size == 244


def multiply_adds(network: keras.Model) -> int:
    """By hand, along the shrinking maps of one patch."""
    size, total = 244, 0
    for layer in network.layers:
        if isinstance(layer, layers.Conv2D):
            size -= 2
            total += size * size * int(np.prod(layer.kernel.shape))
        elif isinstance(layer, layers.MaxPooling2D):
            size //= 2
        elif isinstance(layer, layers.Dense):
            total += int(np.prod(layer.kernel.shape))
    assert size == 2
    return total


def test_its_patches_are_large_and_its_guards_are_not(tiny_survey: Path, tiny_picks: Path) -> None:
    request = asked(tiny_survey, tiny_picks, split="blocked")
    assert (request.patch_size, FitRequest("waldeland", tiny_survey, ()).patch_size) == (244, 64)
    assert FitRequest.from_json(request.to_json() | {"patch_size": 212}).patch_size == 212
    assert prepare(request).split.settings["guard"] == 32


def test_what_blocked_scores_are_worth_is_said(run: Run, tiny_survey: Path, tiny_picks: Path) -> None:
    [trained] = find_trained([run.folder])
    blocked = replace(trained, prepared=prepare(asked(tiny_survey, tiny_picks, split="blocked")))
    assert blocked.caveats == (
        "The test picks are on ground whose facies the network has not seen: a training patch shows their amplitudes "
        "at most, in its 90 traces of context on either side.",
    )


@pytest.mark.parametrize("name", ["default", "quick"])
def test_recipes_on_features_change_sections_and_not_patches(name: str) -> None:
    recipe = recipes.find_recipe("vgg16-context", name)
    assert recipe.frozen_to is not None
    assert recipe.augmentation == Augmentation(mix=recipe.augmentation.mix)
