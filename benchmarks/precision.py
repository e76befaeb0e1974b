"""What does reduced precision cost and bring? Size, patches/s, agreement with Keras and accuracy, of one training run.

The run is exported in fp32, fp16 and int8 to a temporary folder, each with its proof. Then `infer`'s patch engine
classifies patches of the training line with each, in turn, several times over; the medians are printed.

    python benchmarks/precision.py runs/RUN
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from machine import describe_machine

SIDE = 16  # traces and samples, so 256 patches: a few seconds of VGG16 on a small machine
SECONDS_PER_TURN = 2
ROUNDS = 5
HEADER = f"{'precision':<11}{'size':>9}{'patches/s':>11}{'against fp32':>14}{'agreement':>11}{'accuracy':>10}  in Keras"


def main() -> None:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    run = Path(sys.argv[1])
    print(describe_machine())
    with tempfile.TemporaryDirectory() as folder:
        exports = export_all(run, Path(folder))
        rates = patches_per_second(run, exports)
        print(HEADER)
        for precision, done in exports.items():
            print(row(precision, done, rates))


def export_all(run: Path, folder: Path) -> dict:
    """An export in every precision. Where a proof fails, its sentence ends the benchmark."""
    from trainer.export import export
    from trainer.names import PRECISION_NAMES
    from trainer.runs import Run

    network = Run(run).read_settings().request.network
    return {
        precision: export(network, run, folder, f"{network}-{precision}", precision=precision)
        for precision in PRECISION_NAMES
    }


def patches_per_second(run: Path, exports: dict) -> dict[str, list[float]]:
    """The rates of every round. Contenders take turns, so that whatever else the machine does meets all of them."""
    from infer.amplitude import scale_amplitude
    from infer.models import load_model
    from infer.patch_engine import classify_samples
    from trainer.runs import Run, prepare_again

    prepared = prepare_again(Run(run))
    scaled = scale_amplitude(prepared.section.amplitude, prepared.amplitude_clip)
    traces, samples = (np.linspace(0, size - 1, SIDE).astype(int) for size in scaled.shape)
    models = {precision: load_model(done.path, "cpu") for precision, done in exports.items()}
    rates: dict[str, list[float]] = {precision: [] for precision in models}
    for model in models.values():
        classify_samples(scaled, traces[:4], samples, model)
    for _ in range(ROUNDS):
        for precision, model in models.items():
            rates[precision].append(rate(lambda model=model: classify_samples(scaled, traces, samples, model)))
    return rates


def rate(classify: Callable[[], object]) -> float:
    """Patches/s over a turn."""
    started, patches = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - started) < SECONDS_PER_TURN:
        classify()
        patches += SIDE**2
    return patches / elapsed


def row(precision: str, done, rates: dict[str, list[float]]) -> str:
    ratio = statistics.median(rate / other for rate, other in zip(rates[precision], rates["fp32"], strict=True))
    scores = done.card.scores
    exported = scores.get("exported_test_accuracy", scores["test_accuracy"])
    trained = scores.get("keras_test_accuracy", scores["test_accuracy"])
    return (
        f"{precision:<11}{done.path.stat().st_size / 1e6:>6.1f} MB{statistics.median(rates[precision]):>11,.1f}"
        f"{ratio:>14.2f}{scores['agreement']:>11.2%}{exported:>10.2%}  {trained:.2%}"
    )


if __name__ == "__main__":
    main()
