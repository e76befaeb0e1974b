"""What Keras trains on: patches around picks, cut batch by batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from infer.amplitude import scale_amplitude
from infer.facies import FACIES_NAMES
from infer.patches import cut_patches
from infer.section import Section
from trainer.augmentation import NO_AUGMENTATION, Augmentation, mixed
from trainer.picks import PlacedPicks


@dataclass(frozen=True, eq=False)
class LabelledSection:
    """A section scaled as inference scales it, and its picks."""

    scaled: NDArray[np.float32]  # [trace, sample], in ±1
    picks: PlacedPicks

    @classmethod
    def of(cls, section: Section, amplitude_clip: float, picks: PlacedPicks) -> LabelledSection:
        """The section scaled by its survey's clip."""
        return cls(scale_amplitude(section.amplitude, amplitude_clip), picks)

    def patches(self, which: NDArray[np.int64], patch_size: int) -> NDArray[np.float32]:
        """The patches `[patch, P, P]` around the picks at positions `which`."""
        return cut_patches(self.scaled, self.picks.trace[which], self.picks.sample[which], patch_size)

    def changed_patches(
        self, which: NDArray[np.int64], patch_size: int, augmentation: Augmentation, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """The same for training: cut and changed as the augmentation has it."""
        trace, sample = augmentation.centres(self.picks.trace[which], self.picks.sample[which], rng)
        return augmentation.change(cut_patches(self.scaled, trace, sample, patch_size), rng)

    def one_hot(self, which: NDArray[np.int64]) -> NDArray[np.float32]:
        """The true facies `[patch, facies]` of these picks, as Keras wants them."""
        return np.eye(len(FACIES_NAMES), dtype=np.float32)[self.picks.facies[which]]


class PatchBatches(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches of (patches `[batch, P, P]`, one-hot facies `[batch, facies]`), cut when Keras asks for them.

    Batches are of nearly equal size, `batch_size` at most: a last batch of three patches would have a say in batch
    normalisation's statistics, and none in a fair average.
    """

    def __init__(
        self, labelled: LabelledSection, which: NDArray[np.int64], patch_size: int, batch_size: int = 256
    ) -> None:
        """Batches of the picks at positions `which`, in that order."""
        # Cutting releases the GIL and is six times faster than training on two cores: Keras never waits. A batch of
        # features may take 50 MB, so that few stand in the queue.
        super().__init__(workers=2, max_queue_size=4)
        self._labelled = labelled
        self._which = which
        self._patch_size = patch_size
        n_batches = -(-which.size // batch_size)
        self._bounds = np.linspace(0, which.size, n_batches + 1).round().astype(int)

    @property
    def num_batches(self) -> int:
        """Batches an epoch."""
        return len(self._bounds) - 1

    @property
    def patches(self) -> int:
        """Patches an epoch."""
        return int(self._which.size)

    @property
    def facies(self) -> NDArray[np.int8]:
        """The true facies, `[pick]`, in the order of the batches."""
        return self._labelled.picks.facies[self._which]

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        which = self._which[self._bounds[index] : self._bounds[index + 1]]
        return self._labelled.patches(which, self._patch_size), self._labelled.one_hot(which)


class TrainingBatches(PatchBatches):
    """Batches of other picks in another order every epoch, and of patches that are changed every time.

    What epoch n holds depends on the seed and on n alone.
    """

    def __init__(
        self,
        labelled: LabelledSection,
        which: NDArray[np.int64],
        patch_size: int,
        batch_size: int = 256,
        *,
        seed: int,
        per_epoch: int | None = None,
        balanced: bool = False,
        augmentation: Augmentation = NO_AUGMENTATION,
    ) -> None:
        """Batches of `per_epoch` of the picks at positions `which` (all of them by default).

        balanced: as many of every facies as of any other, those with few picks more often.
        """
        self._seed, self._augmentation = seed, augmentation
        self._pool, self._balanced = which, balanced
        self._per_epoch = min(per_epoch or which.size, which.size)
        super().__init__(labelled, which[: self._per_epoch], patch_size, batch_size)
        self.draw(0)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        which = self._which[self._bounds[index] : self._bounds[index + 1]]
        rng = np.random.default_rng((self._seed, self._epoch, index))
        patches = self._labelled.changed_patches(which, self._patch_size, self._augmentation, rng)
        facies = self._labelled.one_hot(which)
        return mixed(patches, facies, self._augmentation.mix, rng) if self._augmentation.mix else (patches, facies)

    def draw(self, epoch: int) -> None:
        """Draw the picks of an epoch, counted from 0. Before Keras' threads begin to cut: when the epoch begins."""
        self._epoch = epoch
        self._which = self._drawn()

    def _drawn(self) -> NDArray[np.int64]:
        rng = np.random.default_rng((self._seed, self._epoch))
        if not self._balanced:
            drawn_from_all: NDArray[np.int64] = rng.permutation(self._pool)[: self._per_epoch]
            return drawn_from_all
        facies = self._labelled.picks.facies[self._pool]
        codes = np.unique(facies)
        shares = np.diff(np.linspace(0, self._per_epoch, codes.size + 1).round().astype(int))
        drawn = [_some(self._pool[facies == code], share, rng) for code, share in zip(codes, shares, strict=True)]
        shuffled: NDArray[np.int64] = rng.permutation(np.concatenate(drawn))
        return shuffled


def _some(picks: NDArray[np.int64], number: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """`number` of the picks at random, all of them before any comes again."""
    rounds = [rng.permutation(picks) for _ in range(-(-number // picks.size))]
    some: NDArray[np.int64] = np.concatenate([np.empty(0, np.int64), *rounds])[:number]
    return some


def some_of(which: NDArray[np.int64], at_most: int | None) -> NDArray[np.int64]:
    """So many of them, spread evenly; all of them, where that is few enough or no number is given."""
    if at_most is None or which.size <= at_most:
        return which
    some: NDArray[np.int64] = which[np.linspace(0, which.size - 1, at_most).round().astype(int)]
    return some
