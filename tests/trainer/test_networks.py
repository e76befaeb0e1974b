"""The networks: their parameters, what is frozen, what a patch looks like to them; and their recipes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow", exc_type=ImportError, reason="training needs TensorFlow")
pytest.importorskip("keras", exc_type=ImportError, reason="training needs Keras")

import keras

from infer.errors import OptionError
from trainer.fit import leave_to_train
from trainer.names import CONTEXT, NETWORK_NAMES, PATCH_SIZES, RECIPE_NAMES, SPLIT_NAMES, check_patch_size
from trainer.networks import NETWORKS, find_network
from trainer.recipes import RECIPES, find_recipe
from trainer.splits import SPLITS


def test_names_that_are_known_without_keras_are_all_there_is() -> None:
    assert (tuple(NETWORKS), tuple(RECIPES), tuple(SPLITS)) == (NETWORK_NAMES, NETWORK_NAMES, SPLIT_NAMES)
    assert {name: tuple(recipes) for name, recipes in RECIPES.items()} == RECIPE_NAMES


@pytest.mark.parametrize(
    ("name", "patch_size", "parameters"),
    [
        ("waldeland", 64, 95_735),
        ("vgg16", 64, 15_242_605),
        ("resnet50", 64, 23_616_569),
        ("resnet50", 244, 23_616_569),
        ("vgg16-context", 244, 15_242_605),
    ],
)
def test_networks_have_the_parameters_of_the_paper(name: str, patch_size: int, parameters: int) -> None:
    model = find_network(name).built(patch_size)
    assert model.count_params() == parameters
    assert (model.input_shape, model.output_shape) == ((None, patch_size, patch_size), (None, 9))
    assert (model.input.name, model.input.dtype, model.name) == ("patches", "float32", name)


@pytest.mark.parametrize(
    ("name", "application", "frozen"),
    [("vgg16", "VGG16", 8), ("resnet50", "ResNet50", 45), ("vgg16-context", "VGG16", 15)],
)
def test_the_first_layers_of_the_application_are_frozen(name: str, application: str, frozen: int) -> None:
    theirs = getattr(keras.applications, application)(include_top=False, weights=None, input_shape=(64, 64, 3))
    expected = [layer.name for layer in theirs.layers[1:frozen]]
    assert [layer.name for layer in find_network(name).built().layers if not layer.trainable] == expected


def test_frozen_normalisation_infers_while_the_rest_trains() -> None:
    """Where it does not, tests collapse: benchmarks/collapse.py."""
    model = find_network("resnet50").built(32)
    last = [layer for layer in model.layers if not layer.trainable][-1]
    frozen_part = keras.Model(model.input, last.output)
    patches = np.random.default_rng(0).uniform(-1, 1, (4, 32, 32)).astype(np.float32)
    np.testing.assert_array_equal(frozen_part(patches, training=True), frozen_part(patches, training=False))
    assert not np.allclose(model(patches, training=True), model(patches, training=False))


@pytest.mark.parametrize("name", ["vgg16", "resnet50"])
def test_a_patch_reaches_the_convolutions_as_imagenet_pictures_do(name: str) -> None:
    """Time downwards, three channels, -1 to 1 as 0 to 255, and then Keras' own scaling."""
    patches = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32)).astype(np.float32)
    model = find_network(name).built(32)
    seen = keras.Model(model.input, model.get_layer("imagenet_scaling").output)(patches)
    pictures = np.stack([(patches.transpose(0, 2, 1) + 1) * 127.5] * 3, axis=-1)
    expected = getattr(keras.applications, name).preprocess_input(pictures)
    np.testing.assert_allclose(seen, expected, atol=1e-4)


@pytest.mark.shared
def test_imagenet_weights_from_a_file_do_what_they_do_in_keras(shared: Path) -> None:
    file = shared / "weights/vgg16_imagenet_notop_keras.h5"
    theirs = keras.applications.VGG16(include_top=False, weights=file, input_shape=(64, 64, 3))
    model = find_network("vgg16").built(64, str(file))
    patches = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64)).astype(np.float32)
    scaled = keras.Model(model.input, model.get_layer("imagenet_scaling").output)(patches)
    ours = keras.Model(model.input, model.get_layer("block5_pool").output)(patches)
    np.testing.assert_allclose(ours, theirs(scaled), rtol=1e-4, atol=1e-2)
    assert np.abs(ours).max() > 10


def test_weights_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "weights.h5"
    file.write_bytes(b"nothing of the kind")
    with pytest.raises(OptionError) as caught:
        find_network("vgg16").built(64, str(file))
    assert str(caught.value) == (
        f"{file} does not hold the weights of VGG16's convolutions in Keras' layout, without the top."
    )

    def offline(*_: object, **__: object) -> None:
        raise Exception("URL fetch failure on https://example.org/vgg16.h5: None -- [Errno -3]")  # as Keras does

    monkeypatch.setattr(keras.applications, "ResNet50", offline)
    offline.__name__ = "ResNet50"
    with pytest.raises(OptionError) as caught:
        find_network("resnet50").built(64, "imagenet")
    assert str(caught.value) == (
        "ResNet50's ImageNet weights are not on this machine and cannot be downloaded now. Go online once, or give a "
        "file of them with `--weights FILE.h5` (Keras' own, without the top); `--weights random` starts from nothing."
    )


@pytest.mark.parametrize(
    ("name", "smallest"), [("waldeland", 8), ("vgg16", 32), ("resnet50", 32), ("vgg16-context", 212)]
)
def test_patches_too_small(name: str, smallest: int) -> None:
    assert find_network(name).built(smallest).output_shape == (None, 9)
    with pytest.raises(OptionError) as caught:
        find_network(name).built(smallest - 1)
    assert str(caught.value) == f"{name} takes patches of {smallest} samples and more, not of {smallest - 1}."


def test_patches_too_large() -> None:
    check_patch_size("waldeland", 1024)
    with pytest.raises(OptionError) as caught:
        find_network("waldeland").built(100_000_000)
    assert str(caught.value) == "waldeland takes patches of 1,024 samples at most, not of 100,000,000."


def test_recipes() -> None:
    sgd = find_recipe("vgg16", "paper").optimizer(100)
    assert (sgd.momentum, sgd.nesterov) == (0.9, True)
    sgd.build([])
    for batches, rate in ((0, 1e-4), (1_000_000, 0.5e-4)):
        sgd.iterations.assign(batches)
        assert float(sgd.learning_rate) == pytest.approx(rate)
    falling = find_recipe("waldeland").optimizer(100)
    falling.build([])
    falling.iterations.assign(100)
    assert float(falling.learning_rate) == pytest.approx(0, abs=1e-9)
    with pytest.raises(OptionError) as caught:
        find_recipe("vgg16", "mine")
    assert str(caught.value) == "There is no recipe 'mine' for vgg16. There are: default, paper."


def test_the_recipe_of_vgg16_trains_the_last_block_and_the_head() -> None:
    network = find_network("vgg16").built()
    leave_to_train(network, find_recipe("vgg16"), "vgg16.h5")
    trained = [layer.name for layer in network.layers if layer.trainable and layer.weights]
    assert trained[:4] == ["block5_conv1", "block5_conv2", "block5_conv3", "dense"]
    leave_to_train(network := find_network("vgg16").built(), find_recipe("vgg16", "paper"), "vgg16.h5")
    assert next(layer.name for layer in network.layers if layer.trainable and layer.weights) == "block3_conv2"


@pytest.mark.parametrize(("name", "trained"), [("waldeland", True), ("resnet50", True), ("vgg16-context", False)])
def test_random_weights_are_not_kept_unless_their_layers_are_computed_once(name: str, trained: bool) -> None:
    network = find_network(name).built()
    leave_to_train(network, find_recipe(name), "random")
    assert all(layer.trainable for layer in network.layers) == trained


def test_vgg16_in_context_is_vgg16_where_no_padding_is_met() -> None:
    """The middle one of VGG16's 7 x 7 last positions on 244 x 244 sees samples 6 to 217 and nothing beside them."""
    plain, context = find_network("vgg16").built(244), find_network("vgg16-context").built(212)
    of_both = [keras.Model(network.input, network.get_layer("block5_pool").output) for network in (plain, context)]
    assert [layer.name for layer in context.layers] == [layer.name for layer in plain.layers]
    of_both[1].set_weights(of_both[0].get_weights())
    patches = np.random.default_rng(0).uniform(-1, 1, (1, 244, 244)).astype(np.float32)
    expected, found = of_both[0](patches), of_both[1](patches[:, 6:218, 6:218])
    assert np.abs(found).max() > 0.1
    np.testing.assert_allclose(found[:, 0, 0], expected[:, 3, 3], rtol=1e-3, atol=1e-4)


def test_a_context_takes_the_place_of_padding() -> None:
    """What is left of a patch with its context is what VGG16 has of the patch alone."""
    network = find_network("vgg16-context").built()
    assert network.get_layer("block5_pool").output.shape == (None, 2, 2, 512)
    assert network.input_shape == (None, 244, 244)
    assert PATCH_SIZES["vgg16-context"] - CONTEXT["vgg16-context"] == PATCH_SIZES["vgg16"]
