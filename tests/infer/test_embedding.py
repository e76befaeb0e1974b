"""A model in a host program's processes and threads."""

from __future__ import annotations

import gc
import multiprocessing
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from infer import InferError, Model, Section, classify, load_model
from infer.models import find_model

CLIP = 1.5
FORKS = "fork" in multiprocessing.get_all_start_methods() and sys.platform != "darwin"


def answer(model: Model, seed: int = 0) -> bytes:
    """The probabilities for a small section of noise."""
    noise = np.random.default_rng(seed).standard_normal((40, 36))
    return classify(Section.from_amplitude(noise), model, CLIP).probabilities.tobytes()


@pytest.fixture(scope="module", params=["slice", "patch"])
def model(request) -> Model:
    return load_model(find_model("demo"), "cpu", request.param)


def test_a_pickled_model_gives_the_same_bytes(model):
    again = pickle.loads(pickle.dumps(model))
    assert (again.path, again.engine(), str(again.device)) == (model.path, model.engine(), str(model.device))
    assert answer(again) == answer(model)


def test_a_pickled_model_whose_file_is_gone_says_so(tmp_path):
    path = Path(tmp_path, "mine.onnx")
    path.write_bytes(find_model("demo").read_bytes())
    pickled = pickle.dumps(load_model(path, "cpu", "patch"))
    path.unlink()
    with pytest.raises(InferError, match=r"mine\.onnx"):
        pickle.loads(pickled)


def test_a_relative_path_holds_when_the_host_changes_its_folder(tmp_path, monkeypatch):
    for name in ("demo.onnx", "demo.slice.onnx"):
        Path(tmp_path, name).write_bytes(find_model("demo").with_name(name).read_bytes())
    monkeypatch.chdir(tmp_path)
    mine = load_model("demo.onnx", "cpu")
    monkeypatch.chdir(tmp_path.parent)
    section = Section.from_amplitude(np.random.default_rng(0).standard_normal((8, 8)))
    assert mine.engine(4) == "patch"  # whose session has not started yet
    assert classify(section, mine, CLIP, stride=4).facies.shape == (8, 8)
    assert answer(pickle.loads(pickle.dumps(mine))) == answer(mine)


@pytest.mark.parametrize(
    "start", ["spawn", pytest.param("fork", marks=pytest.mark.skipif(not FORKS, reason="no fork"))]
)
def test_another_process_gives_the_same_bytes(model, start):
    expected = answer(model)
    with ProcessPoolExecutor(1, multiprocessing.get_context(start)) as pool:
        assert pool.submit(answer, model).result(timeout=120) == expected


def resident_mb() -> float:
    """0 where it cannot be known."""
    gc.collect()
    if not sys.platform.startswith("linux"):
        return 0.0
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def test_four_threads_and_a_hundred_sections_give_the_same_bytes_and_memory_stays(model):
    expected = [answer(model, seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda k: answer(model, k % 4), range(20)))  # every thread has had its buffers
        before = resident_mb()
        answers = list(pool.map(lambda k: answer(model, k % 4), range(100)))
    assert answers == expected * 25
    assert resident_mb() - before < 25  # the answers are 5 MB; what they are computed from would be 500


def open_files() -> int:
    """0 where it cannot be known."""
    return len(list(Path("/proc/self/fd").iterdir())) if sys.platform.startswith("linux") else 0


def test_loaded_dropped_and_loaded_again_nothing_is_left():
    import onnxruntime

    def load_and_drop() -> None:
        answer(load_model(find_model("demo"), "cpu"))

    def sessions() -> int:
        gc.collect()
        return sum(isinstance(thing, onnxruntime.InferenceSession) for thing in gc.get_objects())

    for _ in range(5):
        load_and_drop()
    before, threads, alive = resident_mb(), threading.active_count(), sessions()
    descriptors = open_files()
    for _ in range(30):
        load_and_drop()
    assert (threading.active_count(), sessions()) == (threads, alive)
    assert open_files() == descriptors
    assert resident_mb() - before < 30  # a session of this model takes 3 MB and its buffers more


QUIET = """
import locale, logging, os, signal, sys, threading, warnings
import numba, numpy as np
numba.set_num_threads(1)

def state():
    return {
        "environment": dict(os.environ), "folder": os.getcwd(), "warnings": list(warnings.filters),
        "handlers": list(logging.getLogger().handlers), "level": logging.getLogger().level,
        "loggers": [(n, g.level, list(g.handlers)) for n, g in logging.root.manager.loggerDict.items()
                    if n.startswith("infer") and isinstance(g, logging.Logger)],
        "numba": (numba.get_num_threads(), numba.config.DISABLE_JIT, numba.config.NUMBA_NUM_THREADS),
        "numpy": np.geterr(), "printing": np.get_printoptions(), "locale": locale.setlocale(locale.LC_ALL),
        "signals": [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)], "threads": threading.active_count(),
        "hooks": (sys.excepthook, threading.excepthook, sys.stdout, sys.stderr), "recursion": sys.getrecursionlimit(),
        "affinity": os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None,
    }

before = state()
import infer
for engine in ("slice", "patch"):
    model = infer.load_model("demo", "cpu", engine)
    section = infer.Section.from_amplitude(np.random.default_rng(0).standard_normal((20, 20)))
    result = infer.classify(section, model, 1.5)
    infer.write(result, sys.argv[1])
    try:
        infer.classify(section, model, -1.0)
    except infer.InferError:
        pass
after = state()
changed = [name for name in before if before[name] != after[name]]
assert not changed, changed
"""


def test_nothing_of_the_host_is_changed_and_nothing_printed(tmp_path):
    words = [sys.executable, "-W", "error::DeprecationWarning", "-c", QUIET, str(tmp_path / "facies.npz")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
