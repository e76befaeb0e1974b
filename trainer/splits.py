"""Which picks are for what: to train, to validate, to test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.picks import PicksError, PlacedPicks

TEST_FRACTION = 0.25
VALIDATION_FRACTION = 0.10


@dataclass(frozen=True, eq=False)
class Split:
    """Which picks are for what, as positions among the placed picks."""

    method: str
    seed: int
    train: NDArray[np.int64]
    validation: NDArray[np.int64]  # taken from the training side: early stopping never sees the test picks
    test: NDArray[np.int64]

    def parts(self) -> dict[str, NDArray[np.int64]]:
        """The parts by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def summary(self) -> dict[str, object]:
        """How the picks were split, for a model card."""
        fractions = {"test_fraction": TEST_FRACTION, "validation_fraction": VALIDATION_FRACTION}
        sizes = {name: int(part.size) for name, part in self.parts().items()}
        return {"method": self.method, "seed": self.seed, **fractions, **sizes}


def split_random(picks: PlacedPicks, seed: int) -> Split:
    """75 % to train and 25 % to test, whichever they are (Dramsch & Lüthje 2018), and 10 % of the former to validate.

    The picks are distinct, so none is on two sides; but nearly all test picks touch a training pick, and their patches
    differ by a trace or a sample. The scores say how well the network knows this line, not how well it knows others.

    Raises PicksError: too few picks to have some in every part.
    """
    order = np.random.default_rng(seed).permutation(picks.facies.size)
    n_test = round(order.size * TEST_FRACTION)
    n_validation = round((order.size - n_test) * VALIDATION_FRACTION)
    test, validation, train = np.split(order, [n_test, n_test + n_validation])
    if not (test.size and validation.size and train.size):
        raise PicksError(f"{order.size} picks are too few to train, validate and test on.")
    return Split("random", seed, train, validation, test)


SPLITS: dict[str, Callable[[PlacedPicks, int], Split]] = {"random": split_random}
