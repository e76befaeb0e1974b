"""How fast are patches cut? Bytes per second against `np.copyto` of as many bytes, side by side, one thread and all."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from machine import describe_machine

from infer.patches import cut_patches
from infer.sessions import cores

PATCH_SIZE = 64
TRACES, SAMPLES = 651, 462  # an F3 crossline
ROUNDS = 7
BYTES_A_ROUND = 4e9


def main() -> None:
    print(describe_machine())
    section = np.random.default_rng(0).standard_normal((TRACES, SAMPLES)).astype(np.float32)
    print(f"{'threads':>7} {'patches a batch':>16} {'cut GB/s':>9} {'copyto GB/s':>12} {'ratio':>6}")
    for threads in sorted({1, cores()}):
        for batch in (32, 1024):
            cut, copy = rates(section, threads, batch)
            ratio = statistics.median(a / b for a, b in zip(cut, copy, strict=True))
            medians = statistics.median(cut), statistics.median(copy)
            print(f"{threads:>7} {batch:>16} {medians[0] / 1e9:>9.1f} {medians[1] / 1e9:>12.1f} {ratio:>6.2f}")


def rates(section: np.ndarray, threads: int, batch: int) -> tuple[list[float], list[float]]:
    """Bytes per second of cutting and of copying, round by round in turn."""
    starts = np.random.default_rng(1).integers(0, section.size - batch, 64)
    centres = [np.divmod(np.arange(batch) + start, SAMPLES) for start in starts]

    def cut(out: np.ndarray, _source: np.ndarray, repeat: int) -> None:
        cut_patches(section, *centres[repeat % len(centres)], PATCH_SIZE, out)

    def copy(out: np.ndarray, source: np.ndarray, _repeat: int) -> None:
        np.copyto(out, source)

    results: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for way, rate in zip((cut, copy), results, strict=True):
            rate.append(measure(way, threads, batch))
    return results


def measure(way: Callable[[np.ndarray, np.ndarray, int], None], threads: int, batch: int) -> float:
    outs = np.ones((threads, batch, PATCH_SIZE, PATCH_SIZE), np.float32)
    sources = np.ones_like(outs)
    repeats = max(1, int(BYTES_A_ROUND / outs.nbytes))

    def work(thread: int) -> None:
        for repeat in range(repeats):
            way(outs[thread], sources[thread], repeat)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))  # warm
        started = time.perf_counter()
        list(pool.map(work, range(threads)))
        return repeats * outs.nbytes / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
