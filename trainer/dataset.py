"""What Keras trains on: patches around picks, cut batch by batch, and which picks are for what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from infer.amplitude import scale_amplitude
from infer.facies import FACIES_NAMES
from infer.patches import cut_patches
from infer.section import Section
from trainer.picks import PicksError, PlacedPicks

BATCH_SIZE = 256
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


class PatchBatches(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches of (patches `[batch, P, P]`, one-hot facies `[batch, facies]`), cut when Keras asks for them.

    Batches are of nearly equal size, `batch_size` at most: a last batch of three patches would have a say in batch
    normalisation's statistics, and none in a fair average.
    """

    def __init__(
        self,
        labelled: LabelledSection,
        which: NDArray[np.int64],
        patch_size: int,
        *,
        shuffle_seed: int | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> None:
        """Batches of the picks at positions `which`, in that order or, with a seed, in another order every epoch."""
        # Cutting releases the GIL and is six times faster than training on two cores: Keras never waits.
        super().__init__(workers=2, max_queue_size=10)
        self._labelled = labelled
        self._which = which
        self._patch_size = patch_size
        self._rng = None if shuffle_seed is None else np.random.default_rng(shuffle_seed)
        n_batches = -(-which.size // batch_size)
        self._bounds = np.linspace(0, which.size, n_batches + 1).round().astype(int)
        self.on_epoch_end()

    @property
    def num_batches(self) -> int:
        """Batches an epoch."""
        return len(self._bounds) - 1

    @property
    def facies(self) -> NDArray[np.int8]:
        """The true facies, `[pick]`, in the order of the batches."""
        return self._labelled.picks.facies[self._which]

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        which = self._which[self._bounds[index] : self._bounds[index + 1]]
        one_hot = np.eye(len(FACIES_NAMES), dtype=np.float32)[self._labelled.picks.facies[which]]
        return self._labelled.patches(which, self._patch_size), one_hot

    def on_epoch_end(self) -> None:
        """Shuffle for the next epoch. Not at its beginning: Keras' threads have begun to cut by then."""
        if self._rng is not None:
            self._which = self._rng.permutation(self._which)
