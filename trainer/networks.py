"""The networks: patches in, probabilities out, everything else inside the graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from infer.errors import OptionError
from infer.facies import FACIES_NAMES
from trainer.names import PATCH_SIZES, check_network, check_patch_size

MOMENTUM = 0.9
"""Of normalisation's moving averages. Keras' 0.99 lags hundreds of batches behind the weights: on 4,000 training picks,
16 batches an epoch, validation stood at chance for four epochs and early stopping ended the training there."""

MEAN_BGR = (103.939, 116.779, 123.68)
"""Of ImageNet's pixels (0 to 255): what the Oxford weights expect to be taken off blue, green and red."""

VGG16_FROZEN = 8
RESNET50_FROZEN = 45
"""How many of the first Keras layers, the input among them, keep their ImageNet weights (Dramsch & Lüthje 2018)."""
VGG16_CONTEXT_FROZEN = 15
"""Those of the first four blocks: what they make of a section is computed once for all of its patches."""

IMAGENET, RANDOM = "imagenet", "random"


@dataclass(frozen=True)
class Network:
    """One network."""

    name: str
    summary: str
    build: Callable[[int, int, str], keras.Model]  # (patch_size, facies, weights) -> the network

    def built(self, patch_size: int | None = None, weights: str = RANDOM) -> keras.Model:
        """A new network for the facies of the table.

        patch_size: the network's own by default.
        weights: `imagenet`, `random`, or a Keras file of the convolutions' weights; only `random` for waldeland.

        Raises OptionError: the patches are too small or too large, or the weights cannot be had.
        """
        patch_size = PATCH_SIZES[self.name] if patch_size is None else patch_size
        check_patch_size(self.name, patch_size)
        return self.build(patch_size, len(FACIES_NAMES), weights)


def waldeland(patch_size: int, facies: int, weights: str = RANDOM) -> keras.Model:  # noqa: ARG001 - from scratch
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
    return keras.Model(patches, _probabilities(x, facies), name="waldeland")


def vgg16(patch_size: int, facies: int, weights: str) -> keras.Model:
    """VGG16's convolutions, the first seven of Keras' layers frozen, and a small head; otherwise as `waldeland`.

    15,242,605 parameters at 64 x 64 and nine facies. Source: Simonyan & Zisserman 2014, "Very deep convolutional
    networks for large-scale image recognition"; frozen layers and head as in Dramsch & Lüthje 2018.
    """
    patches, image = image_of_patches(patch_size)
    base = _convolutions(keras.applications.VGG16, patches, image, weights, VGG16_FROZEN)
    return keras.Model(patches, _vgg16_head(base, facies), name="vgg16")


def vgg16_context(patch_size: int, facies: int, weights: str) -> keras.Model:
    """VGG16 with its context: convolutions that see the section around the patch where VGG16's see zeros.

    15,242,605 parameters at 244 x 244 and nine facies: VGG16's own, since 180 traces and samples of context leave
    what VGG16 has of 64 x 64, two by two positions. The weights were trained on photographs, where what 64 pixels
    stand in goes on around them. Four of its five blocks are frozen, and its slice model shares all that it computes.
    """
    patches, x = image_of_patches(patch_size)
    theirs = _application(keras.applications.VGG16, weights)
    for number, layer in enumerate(theirs.layers[1:], 1):
        padding = {"padding": "valid"} if isinstance(layer, layers.Conv2D) else {}
        ours = layer.__class__.from_config(layer.get_config() | padding)
        x = ours(x)
        ours.set_weights(layer.get_weights())
        ours.trainable = number >= VGG16_CONTEXT_FROZEN
    return keras.Model(patches, _vgg16_head(x, facies), name="vgg16-context")


def _vgg16_head(x: Any, facies: int) -> Any:
    x = layers.Flatten(name="flatten")(x)
    x = _normalise(layers.Dense(256, name="dense")(x), "dense")
    x = layers.Dropout(0.5, name="dense_dropout")(x)
    return _probabilities(x, facies)


def resnet50(patch_size: int, facies: int, weights: str) -> keras.Model:
    """ResNet50's convolutions, the first 44 of Keras' layers frozen, and a small head; otherwise as `waldeland`.

    23,616,569 parameters with nine facies, at any patch size. Frozen normalisation infers while the rest trains: Keras
    does so since 2.1.3 (January 2018), and benchmarks/collapse.py shows what happens where it does not. Source: He et
    al. 2015, "Deep residual learning for image recognition"; frozen layers and head as in Dramsch & Lüthje 2018.
    """
    patches, image = image_of_patches(patch_size)
    base = _convolutions(keras.applications.ResNet50, patches, image, weights, RESNET50_FROZEN)
    x = layers.GlobalAveragePooling2D(name="vector")(base)
    x = _normalise(x, "vector")
    x = _normalise(layers.Dense(10, name="attributes")(x), "attributes")
    return keras.Model(patches, _probabilities(x, facies), name="resnet50")


def image_of_patches(patch_size: int) -> tuple[Any, Any]:
    """Patches `[batch, trace, sample]`, and of them images `[batch, sample, trace, BGR]` in ImageNet's scaling.

    Amplitude from -1 to 1 is grey from 0 to 255, so silence is mid-grey.
    """
    patches = layers.Input((patch_size, patch_size), name="patches")
    x = layers.Permute((2, 1), name="time_downwards")(patches)
    x = layers.Reshape((patch_size, patch_size, 1), name="one_channel")(x)
    x = layers.Concatenate(name="three_channels")([x, x, x])
    return patches, layers.Rescaling(127.5, [127.5 - mean for mean in MEAN_BGR], name="imagenet_scaling")(x)


def _convolutions(application: Callable[..., keras.Model], patches: Any, image: Any, weights: str, frozen: int) -> Any:
    """What a network of keras.applications makes of `image`; its first `frozen` layers stay as they are."""
    before = {layer.name for layer in keras.Model(patches, image).layers}
    base = _application(application, weights, input_tensor=image)
    of_application = [layer for layer in base.layers if layer.name not in before]
    for layer in of_application:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = MOMENTUM
    for layer in of_application[: frozen - 1]:
        layer.trainable = False
    return base.outputs[0]


def _application(application: Callable[..., keras.Model], weights: str, **given: Any) -> keras.Model:
    """A network of keras.applications without its top."""
    try:
        return application(include_top=False, weights=None if weights == RANDOM else weights, **given)
    except Exception as error:  # Keras raises a bare Exception for a failed download, and ValueErrors for a wrong file
        raise OptionError(_no_weights(weights, application.__name__)) from error


def _no_weights(weights: str, application: str) -> str:
    if weights == IMAGENET:
        return (
            f"{application}'s ImageNet weights are not on this machine and cannot be downloaded now. Go online once, "
            "or give a file of them with `--weights FILE.h5` (Keras' own, without the top); `--weights random` starts "
            "from nothing."
        )
    return f"{weights} does not hold the weights of {application}'s convolutions in Keras' layout, without the top."


def _normalise(x: Any, name: str) -> Any:
    normalised = layers.BatchNormalization(momentum=MOMENTUM, name=f"{name}_normalised")(x)
    return layers.ReLU(name=f"{name}_relu")(normalised)


def _probabilities(x: Any, facies: int) -> Any:
    x = layers.Dense(facies, name="facies")(x)
    x = layers.BatchNormalization(momentum=MOMENTUM, name="facies_normalised")(x)
    return layers.Softmax(name="probabilities")(x)


NETWORKS = {
    network.name: network
    for network in (
        Network("waldeland", "trained from scratch", waldeland),
        Network("vgg16", f"from ImageNet weights, the first {VGG16_FROZEN} Keras layers frozen", vgg16),
        Network("resnet50", f"from ImageNet weights, the first {RESNET50_FROZEN} Keras layers frozen", resnet50),
        Network(
            "vgg16-context",
            f"from ImageNet weights, the first {VGG16_CONTEXT_FROZEN} Keras layers frozen",
            vgg16_context,
        ),
    )
}
"""Those of NETWORK_NAMES."""


def find_network(name: str) -> Network:
    """The network with that name.

    Raises OptionError: there is none.
    """
    check_network(name)
    return NETWORKS[name]
