"""Batch normalisation's statistics, measured afresh on the network as inference has it."""

from __future__ import annotations

import math
from typing import Any

import keras

from trainer.dataset import PatchBatches


class Restate(keras.callbacks.Callback):  # type: ignore[misc]
    """Measures normalisation's means and variances afresh before every validation, without dropout.

    Training keeps moving averages of them, of maps with dropped entries, whose variance is larger than what inference
    has to do with (Li et al. 2019, "Understanding the disharmony between dropout and batch normalization by variance
    shift"). Training itself uses neither.
    """

    def __init__(self, batches: PatchBatches, patches: int) -> None:
        """Measure on so many patches of an epoch: as training sees them, augmented."""
        super().__init__()
        self._batches, self._patches = batches, patches

    def on_test_begin(self, logs: Any = None) -> None:  # noqa: ARG002 - Keras' signature
        """Measure: validation and what is saved after it are with these."""
        restate(self.model, self._batches, self._patches)


def restate(model: keras.Model, batches: PatchBatches, patches: int) -> None:
    """Set the means and variances of normalisation that is trained to the averages over batches, without dropout.

    patches: at least so many, where there are as many.
    """
    normalisations = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    dropouts = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    kept = [(layer, "momentum", layer.momentum) for layer in normalisations]
    kept += [(layer, "rate", layer.rate) for layer in dropouts]
    try:
        for layer in dropouts:
            layer.rate = 0.0
        for number in range(math.ceil(batches.num_batches * min(1, patches / batches.patches))):
            for layer in normalisations:
                layer.momentum = number / (number + 1)  # so that the moving average is the average
            model(batches[number][0], training=True)
    finally:
        for layer, name, value in kept:
            setattr(layer, name, value)
