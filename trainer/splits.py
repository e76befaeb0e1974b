"""Which picks are for what: to train, to validate, to test."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from infer.facies import FACIES_NAMES
from trainer.picks import PicksError, PlacedPicks

TEST_FRACTION = 0.25
VALIDATION_FRACTION = 0.10
_MIDDLE = (0.5 - VALIDATION_FRACTION / 2, 0.5 + VALIDATION_FRACTION / 2)

BLOCK = 48
"""Traces in a block. On F3's inline 339 that puts every facies on both sides."""
TEST_BLOCKS = slice(1, None, 4)
"""The second block and every fourth from there on are tested on."""


@dataclass(frozen=True, eq=False)
class Split:
    """Which picks are for what, as positions among the placed picks."""

    method: str
    seed: int
    train: NDArray[np.int64]
    validation: NDArray[np.int64]  # taken from the training side: early stopping never sees the test picks
    test: NDArray[np.int64]
    settings: dict[str, float] = field(default_factory=dict)  # what else it takes to split again
    unused: int = 0  # picks in guards

    def parts(self) -> dict[str, NDArray[np.int64]]:
        """The parts by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def sha256(self, picks: PlacedPicks) -> str:
        """Of the places and facies of all picks, and of which are for what."""
        digest = hashlib.sha256()
        columns: list[NDArray[np.integer]] = [picks.trace, picks.sample, picks.facies, *self.parts().values()]
        for column in columns:
            digest.update(f"{column.size} ".encode())
            digest.update(np.ascontiguousarray(column, "<i8").tobytes())
        return digest.hexdigest()

    def summary(self) -> dict[str, object]:
        """How the picks were split, for a model card."""
        sizes = {name: int(part.size) for name, part in self.parts().items()}
        unused = {"left_out": self.unused} if self.unused else {}
        return {"method": self.method, "seed": self.seed, **self.settings, **sizes, **unused}

    def report(self, picks: PlacedPicks) -> str:
        """How the picks were split, as a sentence, with the facies that a side goes without."""
        sizes = ", ".join(f"{part.size:,} to {purpose}" for purpose, part in self._purposes())
        guards = f", {self.unused:,} left out between them" if self.unused else ""
        without = [
            f" No pick to {purpose} is {' or '.join(missing)}."
            for purpose, part in self._purposes()
            if (missing := _missing(picks, part))
        ]
        return f"Split {self.method}: {sizes}{guards}.{''.join(without)}"

    def _purposes(self) -> list[tuple[str, NDArray[np.int64]]]:
        return [("train on", self.train), ("validate on", self.validation), ("test on", self.test)]


def split_random(picks: PlacedPicks, seed: int, patch_size: int) -> Split:  # noqa: ARG001 - patches overlap
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
    fractions = {"test_fraction": TEST_FRACTION, "validation_fraction": VALIDATION_FRACTION}
    return Split("random", seed, train, validation, test, fractions)


def split_blocked(picks: PlacedPicks, seed: int, patch_size: int) -> Split:
    """Blocks of 48 traces; the second and every fourth from there to test, with a guard of half a patch around each.

    patch_size: without the context that a network sees around it (`trainer.names.CONTEXT`).

    Picks in a guard are left out: no training patch shows a trace that a test pick lies on. Of every run of training
    traces, those in its middle that hold a tenth of its picks validate. What is scored is ground that the network has
    not seen, on the same line.

    Raises PicksError: too few traces with picks to have some in every part.
    """
    return split_apart(picks, seed, patch_size // 2, TEST_BLOCKS)


def split_apart(picks: PlacedPicks, seed: int, guard: int, test_blocks: slice) -> Split:
    """The same with so many traces of guard, and these of the blocks to test.

    Raises PicksError: see `split_blocked`.
    """
    trace = np.arange(int(picks.trace.max()) + 1)
    blocks = trace // BLOCK
    tested = np.isin(blocks, np.unique(blocks)[test_blocks])
    wide = np.convolve(tested, np.ones(2 * guard + 1))[guard : guard + trace.size] > 0
    test = np.flatnonzero(tested[picks.trace])
    runs = [run for run in _runs(~wide) if run.size]
    train, validation = _middles_apart(picks, runs)
    if not (test.size and validation.size and train.size):
        raise PicksError(
            f"The picks on {picks.kind} {picks.number} are too few, or on too few traces, to test on blocks of {BLOCK} "
            f"traces with guards of {guard}: with `--split random` they can be trained on, and scores mean less."
        )
    settings = {"block": BLOCK, "guard": guard, "validation_fraction": VALIDATION_FRACTION}
    unused = picks.facies.size - test.size - train.size - validation.size
    return Split("blocked", seed, train, validation, test, settings, unused)


def _runs(mask: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """The indices of each unbroken run of True."""
    where = np.flatnonzero(mask)
    return np.split(where, np.flatnonzero(np.diff(where) > 1) + 1)


def _middles_apart(picks: PlacedPicks, runs: list[NDArray[np.int64]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The picks of all runs of traces without those on the middle traces of each; and these, a tenth.

    The ends stay: they are nearest to the test blocks, as labelled lines are to the lines between them.
    """
    train, validation = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for run in runs:
        inside = np.flatnonzero((picks.trace >= run[0]) & (picks.trace <= run[-1]))  # ordered by trace
        if not inside.size:
            continue
        first, last = picks.trace[inside[[int(inside.size * share) for share in _MIDDLE]]]
        in_middle = (picks.trace[inside] >= first) & (picks.trace[inside] < max(last, first + 1))
        train.append(inside[~in_middle])
        validation.append(inside[in_middle])
    return np.concatenate(train), np.concatenate(validation)


def _missing(picks: PlacedPicks, part: NDArray[np.int64]) -> list[str]:
    picked = np.unique(picks.facies)
    return [FACIES_NAMES[k] for k in np.setdiff1d(picked, picks.facies[part])]


SPLITS: dict[str, Callable[[PlacedPicks, int, int], Split]] = {"blocked": split_blocked, "random": split_random}
"""(placed picks, seed, patch size) -> Split, by the names of `trainer.names.SPLIT_NAMES`."""
