"""What does each kind of augmentation do to the blocked score? Waldeland, trained briefly with one and another.

Every row is trained on as many patches of the training blocks, from several seeds, and scored on the test blocks:
ground that it has not seen. Seeds differ by as much as most rows do, so the table has each.

    python benchmarks/augmentation.py SURVEY.sgy PICKS.ixz [--seeds 1] [--epochs 8] [--patches 40000]
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

from trainer.augmentation import Augmentation
from trainer.dataset import LabelledSection, PatchBatches, TrainingBatches
from trainer.fit import Draw
from trainer.networks import find_network
from trainer.normalisation import restate
from trainer.recipes import find_recipe
from trainer.request import FitRequest, Prepared, prepare
from trainer.scores import score

NETWORK = "waldeland"
ROWS = {
    "nothing": Augmentation(),
    "balanced": Augmentation(),
    "mirror": Augmentation(mirror=True),
    "noise 0.1": Augmentation(noise=0.1),
    "shift 3": Augmentation(shift=3),
    "mix 1": Augmentation(mix=1.0),
    "gain 0.5": Augmentation(gain=0.5),
    "gain 0.5, balanced": Augmentation(gain=0.5),
    "gain 0.5, mirror": Augmentation(gain=0.5, mirror=True),
    "gain 0.5, noise 0.1": Augmentation(gain=0.5, noise=0.1),
    "gain 0.5, shift 3": Augmentation(gain=0.5, shift=3),
    "gain 0.5, mix 1": Augmentation(gain=0.5, mix=1.0),
    "gain 0.5, mirror, mix 1": Augmentation(gain=0.5, mirror=True, mix=1.0),
}
"""Balanced rows see as many picks of every facies, the others as many as there are."""


def main() -> None:
    asked = arguments()
    prepared = prepare(FitRequest(NETWORK, asked.survey, (asked.picks,)))
    labelled = LabelledSection.of(prepared.section, prepared.amplitude_clip, prepared.placed)
    print(describe_machine())
    print(f"{NETWORK}, {asked.epochs} epochs of {asked.patches:,} patches, blocked test accuracy by seed")
    for name, augmentation in ROWS.items():
        started = time.perf_counter()
        scores = [
            trained_and_tested(prepared, labelled, augmentation, "balanced" in name, seed, asked)
            for seed in range(asked.seeds)
        ]
        seeds = "".join(f"{accuracy:>9.1%}" for accuracy in scores)
        print(f"{name:<24}{np.mean(scores):>8.1%}  ({seeds} ){time.perf_counter() - started:>7.0f} s", flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("survey", type=Path)
    parser.add_argument("picks", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--patches", type=int, default=40_000)
    return parser.parse_args()


def trained_and_tested(
    prepared: Prepared,
    labelled: LabelledSection,
    augmentation: Augmentation,
    balanced: bool,
    seed: int,
    asked: argparse.Namespace,
) -> float:
    recipe, size = find_recipe(NETWORK), prepared.request.patch_size
    keras.utils.set_random_seed(seed)
    model = find_network(NETWORK).built(size)
    train = TrainingBatches(
        labelled,
        prepared.split.train,
        size,
        recipe.batch_size,
        seed=seed,
        per_epoch=asked.patches,
        balanced=balanced,
        augmentation=augmentation,
    )
    optimizer = recipe.optimizer(asked.epochs * train.num_batches)
    model.compile(optimizer, "categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    model.fit(train, epochs=asked.epochs, verbose=0, callbacks=[Draw(train, seed)])
    restate(model, train, recipe.restated)
    test = PatchBatches(labelled, prepared.split.test, size)
    return score(model.predict(test, verbose=0), test.facies).accuracy


if __name__ == "__main__":
    main()
