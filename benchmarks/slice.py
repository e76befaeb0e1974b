"""How fast is a whole line classified? Samples per second and peak memory, side by side in one run.

- `notebook`: the loop of the reference notebook, one sample at a time: slice a padded section, Keras predicts a batch
  of one. On a few hundred samples: the whole line would take hours.
- `keras`: Keras predicts ready-made patches in batches, at the best of several sizes.
- `onnxruntime`: the same for onnxruntime, also at the better of its two ways to use all cores: threads inside a run, or
  runs side by side.
- `patches`: patches cut and classified by infer's patch engine, whose work includes what the others get for nothing.
- `slices`: the slice engine, its first run and a warm one.

Each contender runs in a process of its own, in turn, several times over; the medians are printed. Then: how long the
slice model's multiply-adds would take as a large matrix product on all cores, and all of `infer slice` as a process.

    python benchmarks/slice.py [SURVEY.sgy CROSSLINE [CONTENDER...]]
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from machine import describe_machine

MODEL = "waldeland"
TRACES, SAMPLES = 651, 462  # an F3 crossline
PATCH_SIZE = 64
READY_MADE = 65_536
ROUNDS = 3


def main() -> None:
    survey, contenders = sys.argv[1:3], sys.argv[3:] or list(CONTENDERS)
    print(describe_machine())
    print(f"{MODEL} on {'crossline ' + survey[1] + ' of ' + Path(survey[0]).name if survey else 'a line of noise'}")
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
    for _, name in itertools.product(range(ROUNDS), contenders):
        command = [sys.executable, __file__, "--contender", name, *survey]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        runs[name].append(json.loads(run.stdout.splitlines()[-1]))
    base = [run["rate"] for run in runs["onnxruntime"]]
    print(f"{'contender':<13}{'samples/s':>11}{'against onnxruntime':>21}{'F3 crossline':>14}{'peak memory':>13}  how")
    for name, results in runs.items():
        rate = median(results, "rate")
        ratio = statistics.median(run["rate"] / other for run, other in zip(results, base, strict=True))
        seconds = TRACES * SAMPLES / rate
        peak = median(results, "peak_mb")
        print(f"{name:<13}{rate:>11,.0f}{ratio:>21.2f}{seconds:>12,.1f} s{peak:>10,.0f} MB  {results[0]['how']}")
    first, of_products = (median(runs["slices"], key) for key in ("first", "of_products"))
    print(f"a first run by slices takes {first:.2f} times as long as a warm one")
    print(f"a warm one takes {of_products:.2f} times as long as its multiply-adds as a matrix product")
    if survey:
        whole = statistics.median(whole_process(*survey) for _ in range(ROUNDS))
        print(f"infer slice, the whole process: {whole:.1f} s")


def median(results: list[dict[str, float]], key: str) -> float:
    return statistics.median(run[key] for run in results)


def whole_process(survey: str, crossline: str) -> float:
    """Seconds from the command to the written file."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["slice", survey, "--crossline", crossline, "--model", MODEL, "--out", f"{folder}/facies.npz"]
        command = [sys.executable, "-c", "from infer.cli import main; main()", *words]
        return seconds(lambda: subprocess.run(command, check=True, capture_output=True))


def section() -> np.ndarray:
    """The scaled section `[trace, sample]`; its values matter for nothing but denormal numbers."""
    if len(sys.argv) > 4:
        from infer import open_survey
        from infer.amplitude import scale_amplitude

        survey = open_survey(sys.argv[3])
        return scale_amplitude(survey.read_crossline(int(sys.argv[4])).amplitude, survey.amplitude_clip)
    noise = np.random.default_rng(0).standard_normal((TRACES, SAMPLES)) / 3
    return np.clip(noise, -1, 1).astype(np.float32)


def ready_made() -> np.ndarray:
    from infer.patches import cut_patches

    whole = section()
    start = (whole.size - READY_MADE) // 2
    return cut_patches(whole, *np.divmod(np.arange(start, start + READY_MADE), whole.shape[1]), PATCH_SIZE)


def keras_model():
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    from trainer.networks import waldeland

    return waldeland(PATCH_SIZE, 9)


def notebook() -> tuple[float, str]:
    model, whole, half = keras_model(), np.pad(section(), PATCH_SIZE // 2), PATCH_SIZE // 2
    count = 200

    def loop(n: int) -> None:
        for k in range(n):
            i, j = divmod(
                k * 997 % ((whole.shape[0] - 2 * half) * (whole.shape[1] - 2 * half)), whole.shape[1] - 2 * half
            )
            model.predict(whole[None, i : i + PATCH_SIZE, j : j + PATCH_SIZE], verbose=0).argmax()

    loop(20)
    return count / seconds(lambda: loop(count)), f"{count} samples, one by one"


def keras() -> tuple[float, str]:
    model, patches = keras_model(), ready_made()

    def predict(batch: int, n: int) -> None:
        model.predict(patches[:n], batch_size=batch, verbose=0)

    best = max((256, 1024, 4096), key=lambda batch: -warm_seconds(lambda: predict(batch, 8192)))
    return READY_MADE / seconds(lambda: predict(best, READY_MADE)), f"batch {best}"


def onnxruntime() -> tuple[float, str]:
    import onnxruntime as ort

    from infer.models import find_model
    from infer.sessions import cores

    patches = ready_made()

    def session(threads: int) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        return ort.InferenceSession(str(find_model(MODEL)), options, providers=["CPUExecutionProvider"])

    sessions = {"threads inside a run": (session(cores()), 1), "runs side by side": (session(1), cores())}

    def predict(way: str, batch: int, n: int) -> None:
        runner, side_by_side = sessions[way]
        starts = range(0, n, batch)
        with ThreadPoolExecutor(side_by_side) as pool:
            list(pool.map(lambda start: runner.run(None, {"patches": patches[start : start + batch]}), starts))

    ways = list(itertools.product(sessions, (16, 32, 64, 128, 256, 1024)))
    way, batch = min(ways, key=lambda choice: warm_seconds(lambda: predict(*choice, 8192)))
    return READY_MADE / seconds(lambda: predict(way, batch, READY_MADE)), f"batch {batch}, {way}"


def patches() -> tuple[float, str]:
    from infer.models import load_model
    from infer.patch_engine import classify_samples

    model, whole = load_model(MODEL, "cpu", "patch"), section()
    traces, samples = np.arange(whole.shape[0]), np.arange(whole.shape[1])
    classify_samples(whole, traces[:10], samples, model)
    taken = seconds(lambda: classify_samples(whole, traces, samples, model))
    return whole.size / taken, f"batch {model.batch_size(whole.size)}, cutting the patches too"


def slices() -> tuple[float, str, dict[str, float]]:
    import onnx

    from infer.models import find_model, load_model
    from infer.slice_engine import classify_in_tiles
    from trainer.slicegraph import slice_graph

    model, whole = load_model(MODEL, "cpu", "slice"), section()
    traces, samples = np.arange(whole.shape[0]), np.arange(whole.shape[1])
    first, *warm = (seconds(lambda: classify_in_tiles(whole, traces, samples, model)) for _ in range(4))
    taken = statistics.median(warm)
    graph = slice_graph(onnx.load(find_model(MODEL)), model.card)
    products = whole.size * graph.slice_multiply_adds / multiply_adds_per_second()
    how = f"tiles of {model.tile_size} at most"
    return whole.size / taken, how, {"first": first / taken, "of_products": taken / products}


def multiply_adds_per_second() -> float:
    """Of NumPy's matrix product in float32 on all cores, at its best."""
    size = 2048
    a, b = np.random.default_rng(0).standard_normal((2, size, size)).astype(np.float32)
    return size**3 / min(seconds(lambda: a @ b) for _ in range(5))


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def warm_seconds(work: Callable[[], object]) -> float:
    work()
    return min(seconds(work) for _ in range(3))


def peak_mb() -> float:
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


CONTENDERS = {contender.__name__: contender for contender in (notebook, keras, onnxruntime, patches, slices)}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--contender"]:
        samples_per_second, how_it_ran, *more = CONTENDERS[sys.argv[2]]()
        measured = {"rate": samples_per_second, "how": how_it_ran, "peak_mb": peak_mb()}
        print(json.dumps(measured | (more[0] if more else {})))
    else:
        main()
