"""A tiny labelled survey, and TensorFlow kept quiet."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ..conftest import grid, segy_bytes

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

INLINE, CROSSLINES, SAMPLES = 20, range(300, 360), 50


def textured(n_traces: int, n_samples: int) -> np.ndarray:
    """Three facies that one tells apart at a glance: silence, fine layers, coarse layers; `[trace, sample]`."""
    rng = np.random.default_rng(1)
    sample = np.arange(n_samples)
    amplitude = np.zeros((n_traces, n_samples)) + rng.normal(0, 2, (n_traces, n_samples))
    amplitude[20:40] += 100 * np.sin(sample * 1.6)
    amplitude[40:] += 100 * np.sin(sample * 0.5)
    return np.round(amplitude)


@pytest.fixture(scope="session")
def tiny_survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inlines 19 to 21, crosslines 300 to 359, 50 samples of 4 ms from 4 ms on."""
    path = tmp_path_factory.mktemp("survey") / "tiny.sgy"
    line = textured(len(CROSSLINES), SAMPLES)
    says = {109: ("h", [4] * 3 * len(CROSSLINES))}
    path.write_bytes(segy_bytes(grid([19, 20, 21], CROSSLINES), np.concatenate([line] * 3), code=3, traces_say=says))
    return path


@pytest.fixture(scope="session")
def tiny_picks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 picks on inline 20: facies 5, 2 and 3 by thirds of the line."""
    path = tmp_path_factory.mktemp("picks") / "tiny.ixz"
    facies = np.repeat([5, 2, 3], 20)
    rows = [f"{INLINE} {x} {4 + 4 * s} {facies[x - 300]}" for x in CROSSLINES for s in range(0, SAMPLES, 5)]
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture
def fit_until_killed(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, Path], None]:
    """Trains in a folder what a FitRequest asks for, and kills the training as its third epoch begins."""
    from trainer.fit import History, fit
    from trainer.request import prepare
    from trainer.runs import new_run

    class KilledError(Exception):
        pass

    def kill(self: History, epoch: int, logs: object = None) -> None:
        if epoch == 2:
            raise KilledError

    def fit_it(request: Any, folder: Path) -> None:
        with monkeypatch.context() as patched, pytest.raises(KilledError):
            patched.setattr(History, "on_epoch_begin", kill)
            fit(prepare(request), new_run(request.network, folder))

    return fit_it
