"""OpendTect's machine learning plugin, its part played here: the zip as dgbpy opens it, cubelets as it has them."""

from __future__ import annotations

import json
import sys
import types
import zipfile
from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from infer import Section, classify, load_model
from infer.card import read_card, write_card
from infer.cli import app
from infer.errors import ModelError, OptionError, OutputError
from infer.hosts.opendtect_zip import write_zipmodel

CLIP = 50.0


class ZipPredictModel(ABC):
    """What a ZipModel has to have, by dgbpy/zipmodelbase.py."""

    modelinfo = None

    @abstractmethod
    def __init__(self, params=None): ...

    @abstractmethod
    def predict(self, model_input, params=None): ...

    @classmethod
    def info(cls):
        return cls.modelinfo.info() if cls.modelinfo else ""


@pytest.fixture
def load(monkeypatch):
    """Loads a ZipModel as dgbpy does: the zip on sys.path, `from zipmodel import ZipModel`."""
    base = types.ModuleType("dgbpy.zipmodelbase")
    base.ZipPredictModel = ZipPredictModel
    monkeypatch.setitem(sys.modules, "dgbpy", types.ModuleType("dgbpy"))
    monkeypatch.setitem(sys.modules, "dgbpy.zipmodelbase", base)

    def load(path: Path):
        monkeypatch.delitem(sys.modules, "zipmodel", raising=False)
        monkeypatch.syspath_prepend(str(path))
        from zipmodel import ZipModel

        assert issubclass(ZipModel, ZipPredictModel)
        return ZipModel()

    yield load
    sys.modules.pop("zipmodel", None)


@pytest.fixture
def section() -> Section:
    amplitude = np.random.default_rng(3).normal(0, CLIP / 2, (23, 19)).astype(np.float32)
    amplitude[4, 7], amplitude[11, 2] = 1e30, np.nan
    return Section.from_amplitude(amplitude, "crossline", 500)


def cubelets(section: Section, size: int, along: str) -> np.ndarray:
    """Around every sample: (N, attribute, inline, crossline, z), undefined outside the survey."""
    half = size // 2
    padded = np.pad(section.amplitude, half, constant_values=np.float32(1e30))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * half + 1, 2 * half + 1))
    windows = windows.reshape(-1, 1, *windows.shape[2:])
    return np.expand_dims(windows, 2 if along == "inline" else 3)


@pytest.mark.parametrize("along", ["inline", "crossline"])
@pytest.mark.parametrize("size", [8, 9])
def test_its_facies_are_those_of_infer(tiny_model, load, section, tmp_path, along, size):
    path = tmp_path / "facies.zip"
    write_zipmodel(str(tiny_model(size)), path, along, CLIP)
    model = load(path)
    windows = cubelets(section, size, along)
    info = json.loads(model.info())
    assert list(windows.shape[1:]) == info["input_shape"]
    probabilities = model.predict(windows)
    expected = classify(section, load_model(tiny_model(size), "cpu"), CLIP)
    assert probabilities.shape == (3, section.amplitude.size)
    np.testing.assert_allclose(probabilities.reshape(3, *section.shape), expected.probabilities, atol=1e-5)
    # As zipmodelbase.apply takes the prediction from them:
    facies = np.argpartition(probabilities, -2, axis=0)[-2:][-1]
    np.testing.assert_array_equal(facies.reshape(section.shape), expected.facies)


def test_what_is_in_the_zip(tiny_model, tmp_path):
    model = tiny_model(8)
    path = tmp_path / "facies.zip"
    write_zipmodel(str(model), path, amplitude_clip=CLIP)
    with zipfile.ZipFile(path) as files:
        assert files.namelist() == ["zipmodel.py", "modelinfo.json", "about.json", "model.onnx"]
        assert files.read("model.onnx") == model.read_bytes()
        info = json.loads(files.read("modelinfo.json"))
    assert (info["scale_type"], info["scale_output"]) == ("Global Standardization", False)  # without statistics: none
    assert (info["input_shape"], info["output_names"]) == ([1, 1, 9, 9], ["layers", "salt", "else"])
    assert [*tmp_path.glob(".*")] == []


@pytest.mark.parametrize("name", ["demo", "vgg16"])
def test_committed_models_load(load, tmp_path, name):
    write_zipmodel(name, tmp_path / "facies.zip")
    assert load(tmp_path / "facies.zip").predict(np.zeros((2, 1, 1, 65, 65), np.float32)).shape == (9, 2)


def test_what_is_refused(tiny_model, sliced_model, load, tmp_path):
    out = tmp_path / "facies.zip"
    refusals = [
        (
            ModelError,
            (str(sliced_model(8).with_name("tiny8.slice.onnx")), out),
            "tiny8.slice.onnx is a slice model, and OpendTect hands out patches: give its patch model.",
        ),
        (
            ModelError,
            (str(tiny_model(8)), out),
            "tiny does not say what amplitudes to clip at: give the survey's with --clip.",
        ),
        (OptionError, ("demo", out, "time"), "Patches lie along an inline or a crossline, not along 'time'."),
        (
            OutputError,
            ("demo", tmp_path / "facies.onnx"),
            f"{tmp_path / 'facies.onnx'} cannot be written: a ZipModel is a .zip in a folder that is there.",
        ),
    ]
    for error, arguments, sentence in refusals:
        with pytest.raises(error) as caught:
            write_zipmodel(*arguments)
        assert str(caught.value) == sentence
    write_zipmodel("demo", out)
    with pytest.raises(ValueError) as caught:
        load(out).predict(np.zeros((1, 1, 3, 65, 65), np.float32))
    assert str(caught.value) == (
        "This model takes cubelets of one inline or one crossline with 64 traces and samples and more, not of 3 "
        "inlines, 65 crosslines and 65 samples."
    )


def test_the_command_takes_the_cards_clip(tiny_model, tmp_path):
    model, out = tiny_model(8), tmp_path / "facies.zip"
    write_card(model, replace(read_card(model), amplitude_clip=77.0))
    done = CliRunner().invoke(app, ["host", "opendtect-zip", str(model), str(out), "--along", "crossline"])
    assert (done.exit_code, done.stdout) == (0, f"Wrote {out}\n")
    with zipfile.ZipFile(out) as files:
        assert json.loads(files.read("about.json"))["amplitude_clip"] == 77.0
        assert json.loads(files.read("modelinfo.json"))["input_shape"] == [1, 9, 1, 9]
