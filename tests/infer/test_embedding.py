"""A model in a host program's processes and threads."""

from __future__ import annotations

import multiprocessing
import pickle
import sys
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


@pytest.mark.parametrize(
    "start", ["spawn", pytest.param("fork", marks=pytest.mark.skipif(not FORKS, reason="no fork"))]
)
def test_another_process_gives_the_same_bytes(model, start):
    expected = answer(model)
    with ProcessPoolExecutor(1, multiprocessing.get_context(start)) as pool:
        assert pool.submit(answer, model).result(timeout=120) == expected


def test_four_threads_and_a_hundred_sections_give_the_same_bytes(model):
    expected = [answer(model, seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda k: answer(model, k % 4), range(100)))
    assert answers == expected * 25
