"""Clip and scale of amplitudes: one function for inference and for training, so that both see the same bytes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from infer.errors import OptionError

CLIP_PERCENTILE = 99.0
UNDEFINED = 1e30
"""OpendTect's undefined value. From here up an amplitude is no amplitude, in any units."""


def silence(amplitude: NDArray[np.float32]) -> int:
    """Make NaN, infinite and undefined samples zero, in place, and return how many there were."""
    with np.errstate(invalid="ignore"):
        bad = ~(np.abs(amplitude) < UNDEFINED)
    count = int(np.count_nonzero(bad))
    if count:
        amplitude[bad] = 0
    return count


def is_live(amplitude: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which traces of `[trace, sample]` have something to say: a dead one repeats one value, zero or other.

    A trace of one sample can only be zero.
    """
    first = amplitude[:, :1] if amplitude.shape[1] > 1 else np.float32(0)
    live: NDArray[np.bool_] = (amplitude != first).any(axis=1)
    return live


def estimate_clip(amplitude: NDArray[np.float32]) -> float:
    """The `amplitude_clip` of live traces `[trace, sample]`: the 99th percentile of |amplitude|.

    Returns 1.0 where there is nothing to measure (no traces, or silence), so that scaling stays defined.
    """
    if amplitude.size == 0:
        return 1.0
    return float(np.percentile(np.abs(amplitude), CLIP_PERCENTILE)) or 1.0


def check_clip(amplitude_clip: float) -> float:
    """The clip itself, if one can scale by it.

    Raises OptionError: it is not a positive, finite number.
    """
    smallest, largest = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
    if not smallest <= float(amplitude_clip) <= largest:
        raise OptionError(f"The amplitude clip must be a positive number of 32 bits, not {amplitude_clip:g}.")
    return float(amplitude_clip)


def scale_amplitude(amplitude: NDArray[np.float32], amplitude_clip: float) -> NDArray[np.float32]:
    """`clip(amplitude / amplitude_clip, -1, 1)` as a new C-contiguous float32 array of the same shape.

    Zero stays zero, so that zero padding means silence. Samples that are not finite count as silence.

    >>> scale_amplitude(np.array([[-90.0, 0.0, 22.5, np.nan]], np.float32), 45.0)
    array([[-1. ,  0. ,  0.5,  0. ]], dtype=float32)

    Raises OptionError: `amplitude_clip` is not a positive, finite number.
    """
    scaled = np.array(amplitude, np.float32, order="C")
    silence(scaled)
    # Multiplying by a reciprocal would give other bytes than dividing; every engine must do the same.
    np.divide(scaled, np.float32(check_clip(amplitude_clip)), out=scaled)
    return np.clip(scaled, -1, 1, out=scaled)
