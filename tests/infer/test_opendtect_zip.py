"""A ZipModel in the hands of dgbpy, whose part is played here: base classes, import, cubelets, scaling, facies."""

from __future__ import annotations

import json
import subprocess
import sys
import types
import zipfile
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import onnxruntime
import pytest

import infer
from infer import cli
from infer.card import read_card, write_card
from infer.demo import write_demo
from infer.hosts.opendtect_zip import write_zipmodel

UNDEFINED = np.float32(1e30)


@dataclass
class ZipModelInfo:
    """The fields of dgbpy's, and the JSON that it makes of them."""

    pred_type: str = "Continuous Data"
    platform: str = "torch"
    learn_type: str = "Seismic Image Transformation"
    scale_type: str = "Global Standardization"
    scale_output: bool = False
    input_names: list[str] = field(default_factory=list)
    output_names: list[str] = field(default_factory=list)
    input_shape: list[int] = field(default_factory=list)
    output_shape: list[int] = field(default_factory=list)
    data_format: str = "channels_first"
    model_version: str = "unknown"
    model_name: str = "unknown"
    platform_version: str = "unknown"

    def info(self):
        counts = {"num_inputs": len(self.input_names), "num_outputs": len(self.output_names)}
        return json.dumps({**asdict(self), **counts})


class ZipPredictModel(ABC):
    modelinfo = None

    @abstractmethod
    def __init__(self, params=None):
        raise NotImplementedError

    @abstractmethod
    def predict(self, model_input, params=None):
        raise NotImplementedError

    @classmethod
    def info(cls):
        return cls.modelinfo.info() if cls.modelinfo else ""


@pytest.fixture
def load(monkeypatch):
    """Opens a zip as dgbpy does: first on sys.path, and `from zipmodel import ZipModel`."""
    base = types.ModuleType("dgbpy.zipmodelbase")
    base.ZipModelInfo, base.ZipPredictModel = ZipModelInfo, ZipPredictModel
    monkeypatch.setitem(sys.modules, "dgbpy", types.ModuleType("dgbpy"))
    monkeypatch.setitem(sys.modules, "dgbpy.zipmodelbase", base)

    def open_zip(path):
        monkeypatch.delitem(sys.modules, "zipmodel", raising=False)
        monkeypatch.syspath_prepend(str(path))
        from zipmodel import ZipModel

        return ZipModel()

    yield open_zip
    sys.modules.pop("zipmodel", None)


def windows(volume, inline, crossline, shape):
    """dgbpy's cubelets of one trace of `[inline, crossline, z]`: `[z, 1, *shape]`, undefined outside the volume."""
    margins = [(size // 2, size // 2) for size in shape]
    padded = np.pad(volume, margins, constant_values=UNDEFINED)
    column = padded[inline : inline + shape[0], crossline : crossline + shape[1]]
    return np.stack([column[None, :, :, z : z + shape[2]] for z in range(volume.shape[2])])


def facies_of(predictions):
    """The facies that dgbpy makes of `[facies, cubelet]`: the last of the two most probable ones."""
    return np.argpartition(predictions, -2, axis=0)[-1]


@pytest.fixture(scope="module")
def section(tmp_path_factory):
    """The demo survey's crossline 500 and its clip."""
    survey = infer.open_survey(write_demo(tmp_path_factory.mktemp("demo")).survey)
    return survey.read_crossline(500), survey.amplitude_clip


@pytest.fixture(scope="module")
def expected(section):
    """What the patch engine says of it."""
    line, clip = section
    return infer.classify(line, infer.load_model("demo", "cpu", "patch"), clip)


def test_the_facies_are_those_of_infer_slice(load, tmp_path, section, expected):
    line, clip = section
    write_zipmodel("demo", tmp_path / "demo.zip", along="crossline", amplitude_clip=clip)
    model = load(tmp_path / "demo.zip")
    shape = json.loads(model.info())["input_shape"][2:]
    assert shape == [65, 3, 65]
    volume = line.amplitude[:, None]  # [inline, crossline, z], a single crossline
    live = np.flatnonzero(line.live)
    predictions = np.stack([model.predict(windows(volume, trace, 0, shape)) for trace in live])
    facies = np.array([facies_of(trace) for trace in predictions])
    np.testing.assert_array_equal(facies, expected.facies[live])
    np.testing.assert_allclose(predictions.swapaxes(0, 1), expected.probabilities[:, live], atol=1e-6)
    by_slice = infer.classify(line, infer.load_model("demo", "cpu"), clip)
    np.testing.assert_array_equal(facies, by_slice.facies[live])


@pytest.mark.parametrize("product", [255 * 127, 32767 // 2])
def test_int8_takes_a_setting_only_where_products_saturate(product, load, tmp_path, monkeypatch):
    write_zipmodel("demo", tmp_path / "demo.zip", amplitude_clip=1.0)
    sessions = []

    class Session:
        def __init__(self, _, options=None, **__):
            sessions.append(options)

        def run(self, _, inputs):
            return [np.full((16, 16), inputs["a"].shape[1] * product, np.int32)]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    load(tmp_path / "demo.zip")
    if product == 255 * 127:
        with pytest.raises(RuntimeError, match="x64quantprecision"):
            sessions[-1].get_session_config_entry("session.x64quantprecision")
    else:
        assert sessions[-1].get_session_config_entry("session.x64quantprecision") == "1"


def test_patches_of_inlines_lie_along_the_other_axis(load, tmp_path, section, expected):
    line, clip = section
    for along in ("inline", "crossline"):
        write_zipmodel("demo", tmp_path / f"{along}.zip", along=along, amplitude_clip=clip)
    crossline_trace = windows(line.amplitude[:, None], 100, 0, (65, 3, 65))
    inline_trace = windows(line.amplitude[None], 0, 100, (3, 65, 65))
    along_inline = load(tmp_path / "inline.zip").predict(inline_trace)
    np.testing.assert_array_equal(facies_of(along_inline), expected.facies[100])
    np.testing.assert_array_equal(along_inline, load(tmp_path / "crossline.zip").predict(crossline_trace))


def test_global_standardisation_is_undone(load, tmp_path, section, expected):
    line, clip = section
    mean, deviation = -31.5, float(line.amplitude[line.live].std())
    write_zipmodel("demo", tmp_path / "demo.zip", amplitude_clip=clip, standardised=(mean, deviation))
    model = load(tmp_path / "demo.zip")
    assert model.modelinfo.scale_type == "Global Standardization"
    cubelets = windows(line.amplitude[None], 0, 100, (3, 65, 65))
    cubelets -= np.float32(mean)  # in place and in this order, as dgbpy does
    cubelets /= np.float32(deviation)
    predictions = model.predict(cubelets)
    np.testing.assert_array_equal(facies_of(predictions), expected.facies[100])
    np.testing.assert_allclose(predictions, expected.probabilities[:, 100], atol=1e-4)


@pytest.mark.parametrize("patch_size", [7, 8])
def test_amplitudes_are_scaled_once_and_the_undefined_are_silence(load, tmp_path, tiny_model, patch_size):
    path = tiny_model(patch_size)
    write_zipmodel(path, tmp_path / "tiny.zip", amplitude_clip=50.0)
    window = patch_size // 2 * 2 + 1
    cubelets = np.random.default_rng(0).normal(0, 60, (300, 1, 3, window, window)).astype(np.float32)
    cubelets[:, 0, (0, 2)] = 1e6  # only the middle line counts
    cubelets[0, 0, 1, 0, :3] = UNDEFINED, np.nan, -np.inf
    before = cubelets.copy()
    got = load(tmp_path / "tiny.zip").predict(cubelets)
    np.testing.assert_array_equal(cubelets, before)

    patches = cubelets[:, 0, 1, :patch_size, :patch_size].copy()
    patches[0, 0, :3] = 0
    session = onnxruntime.InferenceSession(str(path))
    expected = session.run(None, {"patches": np.clip(patches / np.float32(50), -1, 1)})[0].T
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_no_cubelets_are_no_facies(load, tmp_path, tiny_model):
    write_zipmodel(tiny_model(8), tmp_path / "tiny.zip", amplitude_clip=1.0)
    assert load(tmp_path / "tiny.zip").predict(np.empty((0, 1, 3, 9, 9))).shape == (3, 0)


@pytest.mark.parametrize("shape", [(2, 1, 9, 3, 9), (2, 1, 3, 8, 8), (9, 9)])
def test_cubelets_of_another_size_are_refused(load, tmp_path, tiny_model, shape):
    write_zipmodel(tiny_model(8), tmp_path / "tiny.zip", amplitude_clip=1.0)
    with pytest.raises(ValueError) as refused:
        load(tmp_path / "tiny.zip").predict(np.zeros(shape, np.float32))
    assert str(refused.value) == (
        f"Cubelets should have 9 traces of 9 samples along the inline, and these have the shape {shape}."
    )


def test_what_the_zip_says_of_itself(load, tmp_path, tiny_model):
    path = tiny_model(8)
    write_card(path, replace(read_card(path), amplitude_clip=1234.5, version="3"))
    write_zipmodel(path, tmp_path / "tiny.zip", along="crossline")
    with zipfile.ZipFile(tmp_path / "tiny.zip") as archive:
        assert archive.namelist() == ["zipmodel.py", "modelinfo.json", "settings.json", "model.onnx", "products.onnx"]
        said, settings = (json.loads(archive.read(name)) for name in archive.namelist()[1:3])
        assert archive.read("model.onnx") == path.read_bytes()
    assert said == {
        "platform": "onnx",
        "pred_type": "Classification Data",
        "learn_type": "Seismic Classification",
        "scale_type": "None",
        "scale_output": False,
        "num_inputs": 1,
        "num_outputs": 3,
        "input_names": ["Amplitude"],
        "output_names": ["layers", "salt", "else"],
        "input_shape": [0, 1, 9, 3, 9],
        "output_shape": [3, 0],
        "data_format": "channels_first",
        "model_version": "3",
        "model_name": "tiny",
        "platform_version": onnxruntime.__version__,
    }
    assert settings == {"patch_size": 8, "along": "crossline", "amplitude_clip": 1234.5, "standardised": None}
    assert json.loads(load(tmp_path / "tiny.zip").info()) == said


def test_it_runs_without_infer(tmp_path, tiny_model):
    """In another process, where importing `infer` fails."""
    write_zipmodel(tiny_model(8), tmp_path / "tiny.zip", amplitude_clip=1.0)
    (tmp_path / "dgbpy").mkdir()
    (tmp_path / "dgbpy" / "__init__.py").touch()
    (tmp_path / "dgbpy" / "zipmodelbase.py").write_text("ZipPredictModel, ZipModelInfo = object, dict\n")
    code = (
        "import sys, numpy\n"
        f"sys.modules['infer'] = None; sys.path[:0] = [{str(tmp_path / 'tiny.zip')!r}, {str(tmp_path)!r}]\n"
        "from zipmodel import ZipModel\n"
        "print(ZipModel().predict(numpy.zeros((5, 1, 3, 9, 9))).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("(3, 5)\n", "")


@pytest.fixture
def infer_host(monkeypatch, capsys, tmp_path):
    """Runs `infer host opendtect-zip ARGUMENTS` in tmp_path and gives status, screen, errors."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["infer", "host", "opendtect-zip", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        return end.value.code or 0, said.out, said.err

    return run


def test_the_command_writes_and_says_so(infer_host, tmp_path, tiny_model):
    options = ("--along", "crossline", "--clip", 7, "--standardised", -1.5, 20)
    assert infer_host(tiny_model(8), "tiny.zip", *options) == (
        0,
        "Wrote tiny.zip, in which amplitudes of ±7 scale to ±1\n",
        "",
    )
    with zipfile.ZipFile(tmp_path / "tiny.zip") as archive:
        settings = json.loads(archive.read("settings.json"))
    assert settings == {"patch_size": 8, "along": "crossline", "amplitude_clip": 7, "standardised": [-1.5, 20]}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("demo.slice", "x.zip"),
            "demo.slice.onnx is a slice model, and dgbpy hands over patches: give it the patch model.",
        ),
        (("tiny8.onnx", "x.zip"), "The card of tiny has no amplitude clip: give the survey's with --clip."),
        (("tiny8.onnx", "x.zip", "--clip", -3), "The amplitude clip must be a positive number of 32 bits, not -3."),
        (("demo", "x.zip", "--along", "z"), "Patches lie along an inline or a crossline, not along 'z'."),
        (
            ("demo", "x.zip", "--standardised", 1, 0),
            "A mean of 1 and a standard deviation of 0 are nothing to scale by.",
        ),
        (("demo", "x.h5"), "x.h5: OpendTect knows a ZipModel by its suffix .zip."),
        (("demo", "no/x.zip"), "no/x.zip cannot be written: no is not a folder that can be written to."),
        (("demo", "folder.zip"), "folder.zip cannot be written: it is a folder."),
    ],
)
def test_what_cannot_be_done_is_said(infer_host, tmp_path, tiny_model, arguments, sentence):
    tiny_model(8)
    (tmp_path / "folder.zip").mkdir()
    assert infer_host(*arguments) == (2, "", f"{sentence}\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.zip", "tiny8.onnx"]
