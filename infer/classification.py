"""Section in, FaciesSection out."""

from __future__ import annotations

import threading
from numbers import Integral

import numpy as np
from numpy.typing import NDArray

from infer.amplitude import check_clip, scale_amplitude
from infer.errors import ModelError, OptionError
from infer.section import NO_DATA, FaciesSection, Section
from infer.sessions import Engine, Model
from infer.slice_engine import classify_in_tiles
from infer.workers import Progress, check_cancelled


def classify(
    section: Section,
    model: Model,
    amplitude_clip: float,
    *,
    stride: int = 1,
    batch_size: int | None = None,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> FaciesSection:
    """The facies of every sample of a section.

    amplitude_clip: the survey's (`Survey.amplitude_clip`), in the section's units: one for all lines of a survey.
    stride: classify every stride-th live trace and sample, and interpolate the probabilities between them.
    batch_size: patches a batch, where patches are what runs; by default a sound one for the model and the device.
    progress: called with samples done and in all, several times a second, in this thread; never if no trace is live.
        With a stride it counts only what is classified.
    cancel: set it from anywhere to stop within a batch or a tile.

    Dead traces and holes get no facies (-1) and no probabilities (NaN). Safe to call from several threads at once.

    Raises OptionError: a stride, batch size or clip out of its range. Cancelled: `cancel` was set. DeviceError: a batch
    or tile failed, for want of memory usually. ModelError: the model gives no numbers.
    """
    check_options(stride, batch_size, amplitude_clip)
    traces, samples = _every(stride, section.live), _every(stride, np.ones(section.shape[1], np.bool_))
    engine = model.engine(stride)
    coarse = probabilities_at(
        section, traces, samples, model, amplitude_clip, engine, batch_size=batch_size, progress=progress, cancel=cancel
    )
    live = np.flatnonzero(section.live)
    if stride > 1:
        coarse = _interpolate(coarse, traces, live, axis=1)
        coarse = _interpolate(coarse, samples, np.arange(section.shape[1]), axis=2)

    if live.size == section.shape[0]:
        probabilities = coarse
    else:
        probabilities = np.full((len(coarse), *section.shape), np.nan, np.float32)
        probabilities[:, live] = coarse
    facies = np.full(section.shape, NO_DATA, np.int8)
    facies[live] = coarse.argmax(axis=0)
    card = model.card
    return FaciesSection(
        section, facies, probabilities, card.facies_names, card.facies_colours, amplitude_clip, card.name
    )


def probabilities_at(
    section: Section,
    traces: NDArray[np.int64],
    samples: NDArray[np.int64],
    model: Model,
    amplitude_clip: float,
    engine: Engine,
    *,
    batch_size: int | None = None,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> NDArray[np.float32]:
    """Probabilities `[facies, trace, sample]` at every crossing of `traces` and `samples` (indices, ascending).

    All of the section is their context. Otherwise as `classify`, and raises what it raises.
    """
    check_cancelled(cancel)  # where no trace is live, nothing after this asks
    scaled = scale_amplitude(section.amplitude, amplitude_clip)
    if engine == "slice":
        found = classify_in_tiles(scaled, traces, samples, model, progress, cancel)
    else:
        from infer.patch_engine import classify_samples  # numba takes half a second, and slices do without

        found = classify_samples(scaled, traces, samples, model, batch_size, progress, cancel)
    if not np.isfinite(found).all():
        raise ModelError(f"{model.card.name} gives probabilities that are no numbers; its weights must be damaged.")
    return found


def check_options(stride: int, batch_size: int | None, amplitude_clip: float | None) -> None:
    """Raise OptionError unless these can be used; None stands for a value to be chosen later."""
    if not isinstance(stride, Integral) or stride < 1:
        raise OptionError(f"The stride counts traces and samples, so a stride of {stride} makes no sense.")
    if batch_size is not None and batch_size < 1:
        raise OptionError(f"A batch holds at least one patch, so a batch size of {batch_size} makes no sense.")
    if amplitude_clip is not None:
        check_clip(amplitude_clip)


def _every(stride: int, live: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Every stride-th index of each run of live ones, and its last: nothing is ever extrapolated, nor bridges a gap."""
    if stride == 1:
        return np.flatnonzero(live)
    edges = np.flatnonzero(np.diff(live, prepend=False, append=False))
    runs = [np.append(np.arange(first, end - 1, stride), end - 1) for first, end in edges.reshape(-1, 2)]
    return np.concatenate([np.empty(0, np.int64), *runs])


def _interpolate(
    coarse: NDArray[np.float32],  # [facies, trace, sample]
    known: NDArray[np.int64],
    wanted: NDArray[np.int64],
    axis: int,
) -> NDArray[np.float32]:
    """Linear along one axis, from the indices `known` to the indices `wanted`, each within its run of known ones."""
    before, after = np.searchsorted(known, wanted, "right") - 1, np.searchsorted(known, wanted)
    weight = ((wanted - known[before]) / np.maximum(known[after] - known[before], 1)).astype(np.float32)
    weight = weight.reshape([-1 if a == axis else 1 for a in range(coarse.ndim)])
    interpolated: NDArray[np.float32] = coarse.take(before, axis) * (1 - weight) + coarse.take(after, axis) * weight
    return interpolated
