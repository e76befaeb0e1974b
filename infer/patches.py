"""Zero-padded patches around samples of a section: checks and allocates, then the kernel cuts."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from infer import _kernels
from infer.errors import OptionError


def cut_patches(
    section: NDArray[np.float32],
    traces: ArrayLike,
    samples: ArrayLike,
    patch_size: int,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """The patches `[patch, P, P]` around the samples at (`traces[k]`, `samples[k]`).

    The patch of size P around (trace i, sample j) covers traces i−P//2 … i−P//2+P−1, and samples likewise; outside
    the section it is zero. Centres are indices, and may lie outside the section too.

    section: float32 `[trace, sample]`, C-contiguous; usually scaled by `scale_amplitude`.
    out: where to cut to, float32 `[patch, P, P]`, C-contiguous; a new array by default.

    >>> section = np.arange(6, dtype=np.float32).reshape(2, 3)
    >>> cut_patches(section, [0], [2], 3)
    array([[[0., 0., 0.],
            [1., 2., 0.],
            [4., 5., 0.]]], dtype=float32)

    Raises OptionError: an array has another type or shape, or `patch_size` is not positive.
    """
    centre_traces = np.ascontiguousarray(traces, np.int64)
    centre_samples = np.ascontiguousarray(samples, np.int64)
    if patch_size < 1:
        raise OptionError(f"A patch has at least one sample, so a patch size of {patch_size} makes no sense.")
    if section.ndim != 2 or section.dtype != np.float32 or not section.flags.c_contiguous:
        raise OptionError(
            f"Patches are cut from a C-contiguous float32 array [trace, sample], not from {section.dtype} "
            f"of shape {section.shape}."
        )
    if centre_traces.ndim != 1 or centre_traces.shape != centre_samples.shape:
        raise OptionError(
            f"Every patch needs a trace and a sample: got {centre_traces.shape} traces and "
            f"{centre_samples.shape} samples."
        )
    shape = (centre_traces.size, patch_size, patch_size)
    if out is None:
        out = np.empty(shape, np.float32)
    elif out.shape != shape or out.dtype != np.float32 or not out.flags.c_contiguous:
        raise OptionError(f"`out` must be C-contiguous float32 of shape {shape}, not {out.dtype} of shape {out.shape}.")
    _kernels.cut(section, centre_traces, centre_samples, out)
    return out
