"""Scores: what probabilities are worth against the true facies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infer.facies import FACIES_NAMES

CALIBRATION_BINS = 15
"""Of equal width, as in Guo et al. 2017."""

_SMALLEST = 1e-7
"""Keras' epsilon: its cross-entropy takes no probability for smaller, and neither does ours."""


@dataclass(frozen=True)
class CalibrationBin:
    """Patches whose chosen facies has a probability from `above` (excluded) to `to` (included)."""

    above: float
    to: float
    patches: int
    confidence: float  # their mean probability of the chosen facies
    accuracy: float  # 0 to 1


@dataclass(frozen=True)
class Scores:
    """The scores of the paper's table; which facies are found, and taken for what; and what a probability is worth."""

    patches: int
    loss: float  # categorical cross-entropy
    accuracy: float  # 0 to 1
    mae: float  # mean |probability - truth| over patches and facies
    recall: dict[str, float]  # by facies, of those that occur
    precision: dict[str, float]  # by facies, of those that were chosen
    f1: dict[str, float]  # by facies, of those that occur or were chosen
    confidence: float  # mean probability of the chosen facies
    ece: float  # expected calibration error, 0 to 1
    calibration: list[CalibrationBin]  # of the bins that hold patches, ascending
    facies: list[str]  # the names of the confusion's rows and columns
    confusion: list[list[int]]  # patches, [true facies][chosen facies]


def score(probabilities: NDArray[np.float32], facies: NDArray[np.int8]) -> Scores:
    """The scores of `probabilities` `[patch, facies]` against the true `facies` `[patch]`.

    Source of the expected calibration error: Guo et al. 2017, "On calibration of modern neural networks", equation 3:
    |accuracy - confidence| averaged over the bins, by their patches.
    """
    p = probabilities.astype(np.float64)
    n_facies = p.shape[1]
    chosen = p.argmax(axis=1)
    of_truth, one_hot = p[np.arange(facies.size), facies], np.eye(n_facies)[facies]
    confusion = np.bincount(facies.astype(np.int64) * n_facies + chosen, minlength=n_facies**2).reshape(n_facies, -1)
    found, true, taken = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    confidence, hit = p.max(axis=1), chosen == facies
    bins = calibrate(confidence, hit)
    return Scores(
        patches=facies.size,
        loss=float(-np.log(np.clip(of_truth, _SMALLEST, 1 - _SMALLEST)).mean()),
        accuracy=float(hit.mean()),
        mae=float(np.abs(p - one_hot).mean()),
        recall=_shares(found, true),
        precision=_shares(found, taken),
        f1=_shares(2 * found, true + taken),
        confidence=float(confidence.mean()),
        ece=sum(b.patches * abs(b.accuracy - b.confidence) for b in bins) / facies.size,
        calibration=bins,
        facies=list(FACIES_NAMES[:n_facies]),
        confusion=confusion.tolist(),
    )


def calibrate(confidence: NDArray[np.float64], hit: NDArray[np.bool_]) -> list[CalibrationBin]:
    """How often the chosen facies is right (`hit` `[patch]`), by its probability (`confidence` `[patch]`)."""
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    which = np.searchsorted(edges, confidence, side="left").clip(1, CALIBRATION_BINS) - 1
    return [
        CalibrationBin(
            float(edges[k]),
            float(edges[k + 1]),
            int(np.count_nonzero(inside)),
            float(confidence[inside].mean()),
            float(hit[inside].mean()),
        )
        for k in np.unique(which)
        if (inside := which == k).any()
    ]


def _shares(part: NDArray[np.int64], of: NDArray[np.int64]) -> dict[str, float]:
    """`part / of` by facies, of the facies that have any."""
    return {name: float(p / n) for name, p, n in zip(FACIES_NAMES, part, of, strict=False) if n}
