"""Augmentation: changes to training patches that leave their facies what it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Augmentation:
    """How much patches are changed, anew each time that they are drawn. Nothing, by default."""

    mirror: bool = False  # along the line, every other patch
    gain: float = 0.0  # amplitudes by a factor from exp(-gain) to exp(gain), then clipped at ±1 again
    noise: float = 0.0  # normal, of a standard deviation up to this; 1 is the amplitude clip
    mix: float = 0.0  # patches and their facies with others of the batch, by shares from a beta distribution (mix, mix)
    shift: int = 0  # the patch's centre by up to as many traces and samples; its facies stays the pick's

    def centres(
        self, traces: NDArray[np.int64], samples: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where to cut instead of at (`traces[k]`, `samples[k]`)."""
        if not self.shift:
            return traces, samples
        shifts = rng.integers(-self.shift, self.shift, (2, traces.size), endpoint=True)
        return traces + shifts[0], samples + shifts[1]

    def change(self, patches: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """The patches `[patch, P, P]` changed, in place where possible."""
        if self.mirror:
            mirrored = rng.random(len(patches)) < 0.5
            patches[mirrored] = mirrored_along_line(patches[mirrored])
        if self.gain:
            patches *= np.exp(rng.uniform(-self.gain, self.gain, (len(patches), 1, 1))).astype(np.float32)
        if self.noise:
            level = rng.uniform(0, self.noise, (len(patches), 1, 1)).astype(np.float32)
            patches += level * rng.standard_normal(patches.shape, np.float32)
        return np.clip(patches, -1, 1, out=patches) if self.gain or self.noise else patches


NO_AUGMENTATION = Augmentation()


@dataclass(frozen=True)
class SectionCopy:
    """A whole section changed as its patches would be, where what a network makes of it is computed only once."""

    mirror: bool = False  # along the line

    def of(self, scaled: NDArray[np.float32]) -> NDArray[np.float32]:
        """The copy of a scaled section `[trace, sample]`."""
        return np.ascontiguousarray(scaled[::-1] if self.mirror else scaled)

    def traces(self, traces: NDArray[np.int64], n_traces: int) -> NDArray[np.int64]:
        """Where in the copy of a section of so many traces these traces are."""
        return n_traces - 1 - traces if self.mirror else traces


def mixed(
    patches: NDArray[np.float32], facies: NDArray[np.float32], alpha: float, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Each patch `[patch, ...]`, and its facies `[patch, facies]`, mixed with a smaller share of another one.

    Shares come from a beta distribution (alpha, alpha). Source: Zhang et al. 2018, "mixup: beyond empirical risk
    minimization".
    """
    share = rng.beta(alpha, alpha, (len(patches), 1)).astype(np.float32)
    share = np.maximum(share, 1 - share)
    other = rng.permutation(len(patches))
    own = share.reshape(-1, *[1] * (patches.ndim - 1))
    return own * patches + (1 - own) * patches[other], share * facies + (1 - share) * facies[other]


def mirrored_along_line(patches: NDArray[np.float32]) -> NDArray[np.float32]:
    """Patches `[patch, P, P]` with their traces in reverse order around the centre, which is at P // 2.

    An even patch has one trace more before its centre than after it: that trace stays where it is.
    """
    first = 1 - patches.shape[1] % 2
    mirrored = patches.copy()
    mirrored[:, first:] = patches[:, first:][:, ::-1]
    return mirrored
