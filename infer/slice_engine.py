"""The slice engine: a section through a slice model in tiles with their surroundings, several at a time."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from infer.sessions import Model
from infer.workers import Progress, work_through


class Part(NamedTuple):
    """What a tile is of one axis: it begins at index `first`, and fills in `wanted` of the asked indices."""

    first: int
    wanted: slice


def classify_in_tiles(
    scaled: NDArray[np.float32],
    traces: NDArray[np.int64],
    samples: NDArray[np.int64],
    model: Model,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> NDArray[np.float32]:
    """Probabilities `[facies, trace, sample]` at every crossing of `traces` and `samples` (indices, ascending).

    scaled: the section, float32 `[trace, sample]`, scaled by `scale_amplitude`.

    As the patch engine's `classify_samples`, to float rounding. A tile without any of the traces is not computed.

    Raises Cancelled: `cancel` was set. Whatever a worker or `progress` raises comes out here, after the others stopped.
    """
    total = traces.size * samples.size
    probabilities = np.empty((len(model.card.facies_names), traces.size, samples.size), np.float32)
    if not total:
        return probabilities
    before = model.card.patch_size // 2
    tile_traces, along_traces = parts(traces, model.tile_size)
    tile_samples, along_samples = parts(samples, model.tile_size)
    tiles = list(itertools.product(along_traces, along_samples))

    def start_worker() -> Callable[[tuple[Part, Part]], int]:
        runner = model.tile_runner(tile_traces, tile_samples)

        def classify_tile(tile: tuple[Part, Part]) -> int:
            (first_trace, of_traces), (first_sample, of_samples) = tile
            copy_window(scaled, first_trace - before, first_sample - before, runner.input)
            trace, sample = traces[of_traces] - first_trace, samples[of_samples] - first_sample
            probabilities[:, of_traces, of_samples] = runner.run()[:, trace[:, None], sample]
            return trace.size * sample.size

        return classify_tile

    work_through(tiles, start_worker, min(model.tile_workers, len(tiles)), total, progress, cancel)
    return probabilities


def copy_window(section: NDArray[np.float32], first_trace: int, first_sample: int, out: NDArray[np.float32]) -> None:
    """Fill `out` with the part of the section that begins there; what lies outside the section is zero."""
    out[:] = 0
    last_trace, last_sample = max(0, first_trace + out.shape[0]), max(0, first_sample + out.shape[1])
    inside = section[max(0, first_trace) : last_trace, max(0, first_sample) : last_sample]
    trace, sample = max(0, -first_trace), max(0, -first_sample)
    out[trace : trace + inside.shape[0], sample : sample + inside.shape[1]] = inside


def parts(indices: NDArray[np.int64], longest: int) -> tuple[int, list[Part]]:
    """An axis from the first of `indices` to the last in as few parts as can be, and how long each of them is.

    All are of one length, so that onnxruntime reuses its memory: the last one begins earlier and overlaps the one
    before it, but fills in nothing twice. Parts that hold none of the indices are left out.
    """
    begin, end = int(indices[0]), int(indices[-1]) + 1
    length = math.ceil((end - begin) / math.ceil((end - begin) / longest))
    found = []
    for first in range(begin, end, length):
        low, high = np.searchsorted(indices, (first, first + length))
        if low < high:
            found.append(Part(min(first, end - length), slice(int(low), int(high))))
    return length, found
