"""Why did the paper's ResNet50 score 12.1 % on test picks with 100.0 % on training picks? Two trainings, side by side.

Both start from the same weights, see the same patches, and freeze the same 44 layers. They differ in what the frozen
normalisation does while the rest trains:

- `inference`: it normalises by its stored statistics, in training as in testing: Keras with TensorFlow 2, and ours.
- `batch`: it normalises by each batch's own statistics in training and by the stored ones in testing, and never updates
  them: Keras from 2.1.3 (January 2018) until TensorFlow 2, with which the paper was made.

Stored statistics are those of other pictures. With `--weights FILE` (ResNet50's ImageNet weights in Keras' layout,
without the top) they are ImageNet's. Otherwise the weights are random, and the statistics are measured on pictures with
the spectrum of photographs (1/f, three correlated colours), as a training on photographs would have left them.

    python benchmarks/collapse.py SURVEY.sgy PICKS.ixz [--weights FILE] [--patches 5120] [--patch-size 64]
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from machine import describe_machine

from trainer.dataset import LabelledSection, PatchBatches, TrainingBatches, some_of
from trainer.networks import find_network
from trainer.request import FitRequest, prepare
from trainer.scores import score

BATCH, LEARNING_RATE, SEED, TESTED = 32, 1e-2, 2018, 2_000


@keras.saving.register_keras_serializable("benchmarks")
class OldFrozenNormalization(keras.layers.BatchNormalization):
    """Frozen normalisation as it was: by the batch in training, by stored statistics in testing."""

    def call(self, inputs, training=None, mask=None):
        if not training:
            return super().call(inputs, training=False, mask=mask)
        mean, variance = keras.ops.moments(inputs, axes=(0, 1, 2))
        return keras.ops.batch_normalization(inputs, mean, variance, -1, self.beta, self.gamma, self.epsilon)


def main() -> None:
    asked = arguments()
    request = FitRequest(
        "resnet50", asked.survey, (asked.picks,), seed=SEED, split="random", patch_size=asked.patch_size
    )
    prepared = prepare(request)
    labelled = LabelledSection.of(prepared.section, prepared.amplitude_clip, prepared.placed)
    start = find_network("resnet50").built(asked.patch_size, asked.weights)
    if asked.weights == "random":
        store_statistics(start, photograph_like(asked.patch_size, 16))
    test = PatchBatches(labelled, some_of(prepared.split.test, TESTED), asked.patch_size, 64)

    print(describe_machine())
    print(f"resnet50, {asked.patches:,} patches of {asked.patch_size} samples, {asked.weights} weights to start from")
    print(f"{'frozen normalisation':<22}{'training':>10}{'test':>10}{'test, by batches':>18}{'time':>8}")
    for arm, model in (("inference", copy(start)), ("batch", with_old_normalisation(start))):
        started = time.perf_counter()
        train = TrainingBatches(
            labelled, prepared.split.train, asked.patch_size, BATCH, seed=SEED, per_epoch=asked.patches
        )
        keras.utils.set_random_seed(SEED)
        optimizer = keras.optimizers.SGD(LEARNING_RATE, momentum=0.9, nesterov=True)
        model.compile(optimizer, "categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
        last = LastBatches(20)
        model.fit(train, verbose=0, callbacks=[last])
        tested = score(model.predict(test, verbose=0), test.facies).accuracy
        by_batches = np.concatenate([np.asarray(model(test[i][0], training=True)) for i in range(test.num_batches)])
        in_training = score(by_batches, test.facies).accuracy
        took = time.perf_counter() - started
        print(f"{arm:<22}{last.accuracy:>10.1%}{tested:>10.1%}{in_training:>18.1%}{took:>6.0f} s", flush=True)
    print("training: of the last 20 batches, as Keras logs it. test, by batches: normalised as in training.")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("survey", type=Path)
    parser.add_argument("picks", type=Path)
    parser.add_argument("--weights", default="random")
    parser.add_argument("--patches", type=int, default=5_120)
    parser.add_argument("--patch-size", type=int, default=64)
    return parser.parse_args()


def copy(model: keras.Model) -> keras.Model:
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    return twin


def with_old_normalisation(model: keras.Model) -> keras.Model:
    """The same network, its frozen normalisation the old kind."""

    def clone(layer):
        frozen = isinstance(layer, keras.layers.BatchNormalization) and not layer.trainable
        return (OldFrozenNormalization if frozen else layer.__class__).from_config(layer.get_config())

    old = keras.models.clone_model(model, clone_function=clone)
    old.set_weights(model.get_weights())
    return old


def store_statistics(model: keras.Model, pictures: np.ndarray) -> None:
    """Make the statistics that the convolutions' normalisation stores those of `pictures` `[picture, P, P, 3]`."""
    images = model.get_layer("imagenet_scaling").output
    layers = [layer for layer in model.layers if layer.name.startswith("conv") and layer.name.endswith("_bn")]
    inputs = [layer.input for layer in layers]
    for layer, reached in zip(layers, inputs, strict=True):  # in order: each is measured on what those before give
        before = np.asarray(keras.Model(images, reached)(pictures, training=False))
        layer.moving_mean.assign(before.mean(axis=(0, 1, 2)))
        layer.moving_variance.assign(before.var(axis=(0, 1, 2)))


def photograph_like(size: int, number: int) -> np.ndarray:
    """Pictures `[picture, P, P, BGR]` with amplitudes falling as 1/f, in ImageNet's scaling (mean 0, deviation 60)."""
    rng = np.random.default_rng(SEED)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    spectrum = rng.standard_normal((number, 4, size, size)) + 1j * rng.standard_normal((number, 4, size, size))
    planes = np.fft.ifft2(spectrum / np.maximum(frequency, 1 / size)).real
    colours = planes[:, :1] + 0.3 * planes[:, 1:]  # grey, and a little colour of each channel's own
    colours *= 60 / colours.std(axis=(1, 2, 3), keepdims=True)
    return np.moveaxis(colours, 1, -1).astype(np.float32)


class LastBatches(keras.callbacks.Callback):
    """The accuracy of the last batches of an epoch: Keras logs the average since its beginning."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number, self._logged = number, [0.0]

    def on_train_batch_end(self, batch, logs=None):
        self._logged.append(logs["accuracy"] * (batch + 1))

    @property
    def accuracy(self) -> float:
        last = self._logged[-self._number - 1 :]
        return (last[-1] - last[0]) / (len(last) - 1)


if __name__ == "__main__":
    main()
