from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

from infer.classification import classify
from infer.cli import app
from infer.errors import ModelNotFoundError
from infer.models import find_model, list_models, load_model, name_of
from infer.section import Section

from .conftest import card_for


def test_models_are_found_by_name_in_the_working_directory_first(tmp_path, monkeypatch, tiny_model):
    folder = tmp_path / "exported"
    folder.mkdir()
    tiny_model(8).rename(folder / "waldeland.onnx")
    (folder / "broken.onnx").write_bytes(b"not a model at all")
    monkeypatch.chdir(tmp_path)
    assert find_model("waldeland").resolve() == (folder / "waldeland.onnx").resolve()
    found = {model.path.stem: model for model in list_models()}
    assert found["waldeland"].card == card_for(8)
    assert found["broken"].reason == "broken.onnx is not an ONNX model, or is damaged."


def test_the_committed_models_are_found_by_name():
    expected = {"waldeland", "vgg16", "vgg16-context", "resnet50", "demo"}
    assert expected <= {name_of(model.path) for model in list_models() if model.card}


@pytest.mark.parametrize("name", ["waldeland", "vgg16", "vgg16-context", "resnet50", "demo"])
def test_the_committed_models_run_on_this_processor(name):
    section = Section.from_amplitude(np.random.default_rng(0).normal(size=(2, 3)))
    assert (classify(section, load_model(name, "cpu"), 2.0).facies >= 0).all()


def test_a_slice_model_is_found_by_name_without_its_patch_model(tmp_path, monkeypatch, sliced_model):
    folder = tmp_path / "exported"
    folder.mkdir()
    patch_model = sliced_model(8)
    alone = patch_model.with_name("tiny8.slice.onnx").rename(folder / "mine.slice.onnx")
    monkeypatch.chdir(tmp_path)
    assert find_model("mine").resolve() == alone.resolve()
    assert load_model("mine", "cpu").engine(4) == "slice"
    assert [found.path.name for found in list_models() if name_of(found.path) == "mine"] == ["mine.slice.onnx"]
    said = CliRunner().invoke(app, ["models"]).stdout
    assert "  slice     it is one, and is here without its patch model\n" in said
    patch_model.rename(folder / "mine.onnx")
    assert find_model("mine").name == "mine.onnx"


@pytest.mark.parametrize("name", ["notes.txt", "folder"])
def test_a_file_or_folder_that_is_no_model(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("not a model")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ModelNotFoundError, match=rf"^{name} is no \.onnx file\. Models found by name: "):
        find_model(name)


def test_no_model_of_that_name(tmp_path):
    with pytest.raises(ModelNotFoundError) as error:
        find_model("vgg99")
    names = ", ".join(dict.fromkeys(name_of(found.path) for found in list_models()))
    assert str(error.value) == f"There is no model named 'vgg99'. Models found by name: {names}. See `infer models`."
    with pytest.raises(ModelNotFoundError) as error:
        find_model(tmp_path / "none.onnx")
    assert str(error.value) == f"There is no model at {tmp_path / 'none.onnx'}."
    for name in ("x" * 300, "x" * 300 + ".onnx"):  # longer than a file system takes
        with pytest.raises(ModelNotFoundError, match=r"^There is no model (named 'x{300}'\.|at x{300}\.onnx)"):
            find_model(name)
