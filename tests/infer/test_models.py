from __future__ import annotations

import pytest

from infer.errors import ModelNotFoundError
from infer.models import find_model, list_models

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
    assert {"waldeland", "vgg16", "demo"} <= {model.path.stem for model in list_models() if model.card}


def test_no_model_of_that_name(tmp_path):
    with pytest.raises(ModelNotFoundError) as error:
        find_model("vgg99")
    names = ", ".join(dict.fromkeys(found.path.stem for found in list_models()))
    assert str(error.value) == f"There is no model named 'vgg99'. Models found: {names}. See `infer models`."
    with pytest.raises(ModelNotFoundError) as error:
        find_model(tmp_path / "none.onnx")
    assert str(error.value) == f"There is no model at {tmp_path / 'none.onnx'}."
