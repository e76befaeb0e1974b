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
from trainer.picks import PlacedPicks

BATCH_SIZE = 256


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
