"""The patch engine: batches of patches through a patch model, several at a time, in bounded memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

import numpy as np
from numpy.typing import NDArray

from infer.errors import Cancelled
from infer.patches import cut_patches
from infer.sessions import Model

Progress = Callable[[int, int], None]
"""Called with samples done and samples in all, several times a second, in the thread that called `classify`."""

_REPORT_EVERY_S = 0.1


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
    starts, turn = iter(range(0, total, size)), threading.Lock()
    done = [0] * model.workers
    stop = cancel if cancel is not None else threading.Event()
    failed = threading.Event()

    def next_batch() -> NDArray[np.int64] | None:
        with turn:
            start = next(starts, None)
        if start is None or stop.is_set() or failed.is_set():
            return None
        return np.arange(start, min(start + size, total))

    def work(worker: int) -> None:
        try:
            runner = model.runner(size)
            while (positions := next_batch()) is not None:
                trace, sample = np.divmod(positions, samples.size)
                cut_patches(
                    scaled, traces[trace], samples[sample], model.card.patch_size, runner.patches[: positions.size]
                )
                flat[:, positions[0] : positions[-1] + 1] = runner.run()[: positions.size].T
                done[worker] += positions.size
        except BaseException:
            failed.set()
            raise

    with ThreadPoolExecutor(model.workers, thread_name_prefix="infer") as pool:
        running = {pool.submit(work, worker) for worker in range(model.workers)}
        try:
            while running:
                finished, running = wait(running, _REPORT_EVERY_S, FIRST_EXCEPTION)
                for future in finished:
                    future.result()
                if progress:
                    progress(sum(done), total)
        except BaseException:
            failed.set()
            raise
    if stop.is_set():
        raise Cancelled("Stopped as asked; nothing was written.")
    return probabilities
