"""The patch engine: batches of patches through a patch model, several at a time, in bounded memory."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from infer.patches import cut_patches
from infer.sessions import Model
from infer.workers import Progress, work_through


def classify_samples(
    scaled: NDArray[np.float32],
    traces: NDArray[np.int64],
    samples: NDArray[np.int64],
    model: Model,
    batch_size: int | None = None,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> NDArray[np.float32]:
    """Probabilities `[facies, trace, sample]` at every crossing of `traces` and `samples` (indices, ascending).

    scaled: the section, float32 `[trace, sample]`, scaled by `scale_amplitude`.

    Raises Cancelled: `cancel` was set. Whatever a worker or `progress` raises comes out here, after the others stopped.
    """
    total = traces.size * samples.size
    probabilities = np.empty((len(model.card.facies_names), traces.size, samples.size), np.float32)
    if not total:
        return probabilities
    size = model.batch_size(total, batch_size)
    flat = probabilities.reshape(len(probabilities), total)

    def start_worker() -> Callable[[NDArray[np.int64]], int]:
        runner = model.runner(size)

        def classify_batch(positions: NDArray[np.int64]) -> int:
            trace, sample = np.divmod(positions, samples.size)
            cut_patches(scaled, traces[trace], samples[sample], model.card.patch_size, runner.input[: positions.size])
            flat[:, positions[0] : positions[-1] + 1] = runner.run()[: positions.size].T
            return positions.size

        return classify_batch

    batches = (np.arange(start, min(start + size, total)) for start in range(0, total, size))
    work_through(batches, start_worker, model.workers, total, progress, cancel)
    return probabilities
