"""The numba loops behind patches.py. They fill the caller's arrays, release the GIL and check nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

Loop = TypeVar("Loop", bound=Callable[..., Any])


def _kernel(loop: Loop) -> Loop:
    """Compile, and keep the machine code on disk where there is a place for it (a plugin in a zip has none)."""
    try:
        compiled: Loop = numba.njit(nogil=True, cache=True)(loop)
    except RuntimeError:
        compiled = numba.njit(nogil=True)(loop)
    return compiled


@_kernel
def cut(
    section: NDArray[np.float32],  # [trace, sample]
    traces: NDArray[np.int64],  # [patch], the centres
    samples: NDArray[np.int64],  # [patch]
    out: NDArray[np.float32],  # [patch, P, P]
) -> None:
    """Copy the zero-padded window around each centre; the section itself is never padded.

    Flat arrays and unsigned positions, because numba checks every signed index for being negative: with them the
    copying loop becomes vector instructions, ten times as fast.
    """
    n_traces, n_samples = section.shape
    n_patches, size = out.shape[0], out.shape[1]
    source, target = section.reshape(-1), out.reshape(-1)
    for patch in range(n_patches):
        first_trace = traces[patch] - size // 2
        first_sample = samples[patch] - size // 2
        # Which part of a row lies inside the section is the same for all rows of a patch.
        inside = max(0, -first_sample)
        beyond = max(inside, min(size, n_samples - first_sample))
        for row in range(size):
            trace = first_trace + row
            to = np.uint64((patch * size + row) * size)
            if trace < 0 or trace >= n_traces or beyond == inside:
                for column in range(np.uint64(size)):
                    target[to + column] = 0
                continue
            for column in range(np.uint64(inside)):
                target[to + column] = 0
            from_ = np.uint64(trace * n_samples + first_sample + inside)
            for column in range(np.uint64(beyond - inside)):
                target[to + np.uint64(inside) + column] = source[from_ + column]
            for column in range(np.uint64(beyond), np.uint64(size)):
                target[to + column] = 0
