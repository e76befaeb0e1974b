"""The networks and how each is trained: patches in, probabilities out, everything else inside the graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from infer.facies import FACIES_NAMES
from trainer.names import check_network

MOMENTUM = 0.9
"""Of normalisation's moving averages. Keras' 0.99 lags hundreds of batches behind the weights: on 4,000 training picks,
16 batches an epoch, validation stood at chance for four epochs and early stopping ended the training there."""


@dataclass(frozen=True)
class Network:
    """One network and its recipe."""

    name: str
    patch_size: int  # by default
    build: Callable[[int, int], keras.Model]  # (patch_size, facies) -> the network
    optimizer: Callable[[], Any]

    def compiled(self) -> keras.Model:
        """A new network for the facies of the table, ready to be fitted."""
        model = self.build(self.patch_size, len(FACIES_NAMES))
        model.compile(self.optimizer(), loss="categorical_crossentropy", metrics=["accuracy"])
        return model


def waldeland(patch_size: int, facies: int) -> keras.Model:
    """The Waldeland CNN: `patches` `[batch, P, P]` to `probabilities` `[batch, facies]`.

    95,735 parameters at 64 x 64 and nine facies. Source: Waldeland et al. 2018, "Convolutional neural networks for
    automated seismic interpretation", in 2-D and with batch normalisation as in Dramsch & Lüthje 2018.
    """
    patches = layers.Input((patch_size, patch_size), name="patches")
    x = layers.Reshape((patch_size, patch_size, 1), name="one_channel")(patches)
    x = layers.Conv2D(50, 5, strides=4, padding="same", name="conv_1")(x)
    x = _normalise(x, "conv_1")
    for number, dropout in ((2, 0.5), (3, 0.4), (4, 0.2)):
        x = layers.Conv2D(50, 3, strides=2, padding="same", name=f"conv_{number}")(x)
        x = layers.Dropout(dropout, name=f"conv_{number}_dropout")(x)
        x = _normalise(x, f"conv_{number}")
    x = layers.Conv2D(50, 3, strides=2, padding="same", name="conv_5")(x)
    x = layers.Flatten(name="flatten")(x)
    x = _normalise(layers.Dense(50, name="dense")(x), "dense")
    x = _normalise(layers.Dense(10, name="attributes")(x), "attributes")
    x = layers.Dense(facies, name="facies")(x)
    x = layers.BatchNormalization(momentum=MOMENTUM, name="facies_normalised")(x)
    return keras.Model(patches, layers.Softmax(name="probabilities")(x), name="waldeland")


def _normalise(x: Any, name: str) -> Any:
    normalised = layers.BatchNormalization(momentum=MOMENTUM, name=f"{name}_normalised")(x)
    return layers.ReLU(name=f"{name}_relu")(normalised)


def _adam() -> Any:
    return keras.optimizers.Adam(learning_rate=1e-3, beta_1=0.9, beta_2=0.999)


NETWORKS = {network.name: network for network in (Network("waldeland", 64, waldeland, _adam),)}
"""Those of NETWORK_NAMES."""


def find_network(name: str) -> Network:
    """The network with that name.

    Raises OptionError: there is none.
    """
    check_network(name)
    return NETWORKS[name]
