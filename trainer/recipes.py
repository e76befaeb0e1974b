"""Recipes: how each network is trained, ours and the paper's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import keras

from trainer.augmentation import NO_AUGMENTATION, Augmentation, SectionCopy
from trainer.names import check_network, check_recipe


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. An epoch is so many patches, drawn anew: VGG16 takes an hour for all of F3's picks."""

    summary: str
    optimizer: Callable[[int], Any]  # (batches in all) -> a Keras optimizer
    batch_size: int
    epochs: int  # at most, by default
    patience: int  # epochs without an improvement on the validation part
    per_epoch: int | None = None  # patches; all picks to train on by default
    balanced: bool = False
    augmentation: Augmentation = NO_AUGMENTATION
    restated: int = 1_024  # patches to measure normalisation's statistics on, before every validation
    validated: int | None = None  # picks of the validation part, at most
    scored: int | None = None  # picks of every part, at most
    bfloat16: bool = False  # where the processor multiplies in it
    frozen_to: str | None = None  # the layer up to which nothing is trained, computed once for the whole section
    held_to: str | None = None  # the layer up to which pretrained weights are left as they are, beside frozen ones
    copies: tuple[SectionCopy, ...] = ()  # of the section, trained on beside it where layers are frozen so

    def describe(self) -> str:
        """The recipe in a line."""
        patches = "all picks" if self.per_epoch is None else f"{self.per_epoch:,} patches"
        balanced = ", as many of each facies" if self.balanced else ""
        stopping = f", stopping after {self.patience} without progress" if self.patience < self.epochs else ""
        return f"{self.summary}; {self.epochs} epochs of {patches}{balanced} in batches of {self.batch_size}{stopping}"


def _adam(_batches: int) -> Any:
    return keras.optimizers.Adam(learning_rate=1e-3, beta_1=0.9, beta_2=0.999)


def _falling(optimizer: Callable[..., Any], learning_rate: float, **settings: Any) -> Callable[[int], Any]:
    """The optimizer with a learning rate that falls to 0 as a cosine does."""

    def of_batches(batches: int) -> Any:
        return optimizer(keras.optimizers.schedules.CosineDecay(learning_rate, batches), **settings)

    return of_batches


def _papers_sgd(_batches: int) -> Any:
    """1e-4 / (1 + 1e-6 t), as Keras' old `decay` had it."""
    falling = keras.optimizers.schedules.InverseTimeDecay(1e-4, decay_steps=1, decay_rate=1e-6)
    return keras.optimizers.SGD(falling, momentum=0.9, nesterov=True)


_WALDELAND = Recipe(
    "Adam 1e-3 falling to 0; gain, mirror, mix",
    _falling(keras.optimizers.Adam, 1e-3),
    batch_size=256,
    epochs=20,
    patience=20,
    augmentation=Augmentation(gain=0.5, mirror=True, mix=1.0),
    restated=8_192,
)
_VGG16 = Recipe(
    "AdamW 3e-4 falling to 0, on the fifth block and the head; gain, mirror",
    _falling(keras.optimizers.AdamW, 3e-4, weight_decay=1e-2),
    batch_size=32,
    epochs=8,
    patience=8,
    augmentation=Augmentation(gain=1.0, mirror=True),
    per_epoch=2_560,
    validated=512,
    scored=4_000,
    bfloat16=True,
    held_to="block4_pool",
)
_RESNET50 = replace(
    _VGG16,
    summary="AdamW 1e-3 falling to 0; gain, mirror",
    optimizer=_falling(keras.optimizers.AdamW, 1e-3, weight_decay=1e-2),
    epochs=10,
    patience=10,
    augmentation=Augmentation(gain=0.5, mirror=True),
    held_to=None,
)
_PAPERS_FINE_TUNED = Recipe(
    "SGD 1e-4 / (1 + 1e-6 t), Nesterov 0.9",
    _papers_sgd,
    batch_size=32,
    epochs=40,
    patience=3,
    scored=4_000,
)
_IN_CONTEXT = Recipe(
    "AdamW 3e-4 falling to 0, on what four frozen blocks make of the section and of its mirror image",
    _falling(keras.optimizers.AdamW, 3e-4, weight_decay=1e-2),
    batch_size=32,
    epochs=8,
    patience=8,
    per_epoch=2_560,
    validated=512,
    scored=4_000,
    bfloat16=True,
    frozen_to="block4_pool",
    copies=(SectionCopy(mirror=True),),
)
_HEAD_ONLY = Recipe(
    "the head alone, Adam 1e-3 falling to 0",
    _falling(keras.optimizers.Adam, 1e-3),
    batch_size=256,
    epochs=6,
    patience=6,
    per_epoch=20_480,
    restated=8_192,
    frozen_to="block5_pool",
)
RECIPES = {
    "waldeland": {
        "default": _WALDELAND,
        "paper": Recipe("Adam 1e-3", _adam, batch_size=256, epochs=30, patience=3, restated=8_192),
    },
    "vgg16": {"default": _VGG16, "paper": _PAPERS_FINE_TUNED},
    "resnet50": {"default": _RESNET50, "paper": _PAPERS_FINE_TUNED},
    "vgg16-context": {"default": _IN_CONTEXT, "quick": _HEAD_ONLY},
}
"""By network and by name."""


def find_recipe(network: str, name: str = "default") -> Recipe:
    """The recipe of that name for a network.

    Raises OptionError: there is none.
    """
    check_network(network)
    check_recipe(network, name)
    return RECIPES[network][name]
