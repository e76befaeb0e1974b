"""Scores: what a network's probabilities are worth against the true facies."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

from infer.facies import FACIES_NAMES
from trainer.dataset import LabelledSection, PatchBatches
from trainer.splits import Split

_SMALLEST = 1e-7
"""Keras' epsilon: its cross-entropy takes no probability for smaller, and neither does ours."""


@dataclass(frozen=True)
class Scores:
    """The scores of the paper's table, and which facies are found."""

    patches: int
    loss: float  # categorical cross-entropy
    accuracy: float  # 0 to 1
    mae: float  # mean |probability - truth| over patches and facies
    recall: dict[str, float]  # by facies, of those that occur


def score(probabilities: NDArray[np.float32], facies: NDArray[np.int8]) -> Scores:
    """The scores of `probabilities` `[patch, facies]` against the true `facies` `[patch]`."""
    p = probabilities.astype(np.float64)
    of_truth = p[np.arange(facies.size), facies]
    hit = p.argmax(axis=1) == facies
    one_hot = np.eye(p.shape[1])[facies]
    return Scores(
        patches=facies.size,
        loss=float(-np.log(np.clip(of_truth, _SMALLEST, 1 - _SMALLEST)).mean()),
        accuracy=float(hit.mean()),
        mae=float(np.abs(p - one_hot).mean()),
        recall={name: float(hit[facies == k].mean()) for k, name in enumerate(FACIES_NAMES) if (facies == k).any()},
    )


def score_parts(model: keras.Model, labelled: LabelledSection, split: Split) -> dict[str, Scores]:
    """The scores on each part of the split, with the network as it infers: no dropout, no batch statistics."""
    patch_size = model.input_shape[1]
    scores = {}
    for name, which in split.parts().items():
        batches = PatchBatches(labelled, which, patch_size)
        scores[name] = score(model.predict(batches, verbose=0), batches.facies)
    return scores
