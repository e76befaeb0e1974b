"""Normalisation's statistics measured afresh, against the same layers worked out in NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("keras", exc_type=ImportError, reason="training needs Keras")
pytest.importorskip("tensorflow", exc_type=ImportError, reason="training needs TensorFlow")

import keras
from keras import layers

from trainer.dataset import LabelledSection, PatchBatches
from trainer.normalisation import Restate, restate
from trainer.request import FitRequest, prepare


@pytest.fixture
def batches(tiny_survey: Path, tiny_picks: Path) -> PatchBatches:
    prepared = prepare(FitRequest("waldeland", tiny_survey, (tiny_picks,), seed=5, split="random", patch_size=8))
    labelled = LabelledSection.of(prepared.section, prepared.amplitude_clip, prepared.placed)
    return PatchBatches(labelled, prepared.split.train[:96], 8, 32)


def network(*, trainable: bool = True) -> keras.Model:
    keras.utils.set_random_seed(1)
    patches = layers.Input((8, 8))
    x = layers.Dense(6, name="first")(layers.Flatten()(patches))
    x = layers.BatchNormalization(momentum=0.9, name="first_normalised")(layers.Dropout(0.5, name="dropout")(x))
    x = layers.Dense(4, name="second")(layers.ReLU()(x))
    x = layers.BatchNormalization(momentum=0.8, name="second_normalised")(x)
    model = keras.Model(patches, x)
    model.get_layer("first_normalised").trainable = trainable
    return model


def by_hand(model: keras.Model, batches: PatchBatches) -> list[tuple[Any, Any]]:
    """Mean and variance before each normalisation, averaged over batches of equal size; none is dropped."""
    found = []
    for number in range(batches.num_batches):
        x = np.asarray(batches[number][0], np.float64).reshape(-1, 64)
        x = x @ np.asarray(model.get_layer("first").kernel) + np.asarray(model.get_layer("first").bias)
        first = x.mean(0), x.var(0)
        x = np.maximum((x - first[0]) / np.sqrt(first[1] + 1e-3), 0)
        x = x @ np.asarray(model.get_layer("second").kernel) + np.asarray(model.get_layer("second").bias)
        found.append((first, (x.mean(0), x.var(0))))
    return [tuple(np.mean(values, axis=0) for values in zip(*layer, strict=True)) for layer in zip(*found, strict=True)]


def test_statistics_are_those_of_the_patches_without_dropout(batches: PatchBatches) -> None:
    model = network()
    restate(model, batches, 96)
    for name, (mean, variance) in zip(("first_normalised", "second_normalised"), by_hand(model, batches), strict=True):
        layer = model.get_layer(name)
        np.testing.assert_allclose(layer.moving_mean, mean, atol=1e-5)
        np.testing.assert_allclose(layer.moving_variance, variance, rtol=1e-4)


def test_what_was_there_before_has_no_say_and_training_goes_on_as_it_was(batches: PatchBatches) -> None:
    model = network()
    restate(model, batches, 96)
    once = model.get_weights()
    model.get_layer("first_normalised").moving_mean.assign(np.full(6, 1e6, np.float32))
    callback = Restate(batches, 96)
    callback.set_model(model)
    callback.on_test_begin()
    for after, before in zip(model.get_weights(), once, strict=True):
        np.testing.assert_array_equal(after, before)
    rates = [layer.rate for layer in model.layers if isinstance(layer, layers.Dropout)]
    momenta = [layer.momentum for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
    assert (rates, momenta) == ([0.5], [0.9, 0.8])


def test_as_many_batches_are_measured_as_hold_the_patches(batches: PatchBatches) -> None:
    few, first = network(), network()
    restate(few, batches, 33)
    restate(first, batches, 64)
    for one, other in zip(few.get_weights(), first.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_frozen_normalisation_keeps_its_statistics(batches: PatchBatches) -> None:
    model = network(trainable=False)
    restate(model, batches, 96)
    np.testing.assert_array_equal(model.get_layer("first_normalised").moving_mean, np.zeros(6))
    np.testing.assert_array_equal(model.get_layer("first_normalised").moving_variance, np.ones(6))
    assert np.abs(np.asarray(model.get_layer("second_normalised").moving_mean)).max() > 0
