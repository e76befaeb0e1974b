"""Pieces of work side by side in threads, with progress, cancel and failure: what both engines share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

from infer.errors import Cancelled

Progress = Callable[[int, int], None]
"""Called with samples done and samples in all, several times a second, in the thread that called `classify`."""

Piece = TypeVar("Piece")

_REPORT_EVERY_S = 0.1


def work_through(
    pieces: Iterable[Piece],
    start_worker: Callable[[], Callable[[Piece], int]],
    workers: int,
    total: int,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> None:
    """Do every piece, `workers` at a time, each worker in a thread of its own.

    start_worker: called in each thread; gives what does a piece and returns how many of the `total` samples it was.

    Raises Cancelled: `cancel` was set. Whatever a worker or `progress` raises comes out here, after the others stopped.
    """
    waiting, turn = iter(pieces), threading.Lock()
    done = [0] * workers
    stop = cancel if cancel is not None else threading.Event()
    failed = threading.Event()

    def next_piece() -> Piece | None:
        with turn:
            return None if stop.is_set() or failed.is_set() else next(waiting, None)

    def work(worker: int) -> None:
        try:
            do = start_worker()
            while (piece := next_piece()) is not None:
                done[worker] += do(piece)
        except BaseException:
            failed.set()
            raise

    with ThreadPoolExecutor(workers, thread_name_prefix="infer") as pool:
        running = {pool.submit(work, worker) for worker in range(workers)}
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
    check_cancelled(stop)


def check_cancelled(cancel: threading.Event | None) -> None:
    """Raise Cancelled if it was set."""
    if cancel is not None and cancel.is_set():
        raise Cancelled("Stopped as asked; nothing was written.")
