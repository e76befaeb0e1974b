"""Cards against the `onnx` package, which reads and writes the same bytes in its own way."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from infer.card import CARD_KEY, ModelCard, read_card, write_card
from infer.errors import ModelError, ModelNotFoundError, OutputError

from .conftest import build_model, card_for


def test_onnx_reads_what_we_write_and_nothing_else_changes(tmp_path):
    path = build_model(tmp_path / "model.onnx", 8)
    before = onnx.load(path)
    write_card(path, card_for(8))
    after = onnx.load(path)
    assert {entry.key: entry.value for entry in after.metadata_props} == {CARD_KEY: card_for(8).to_json()}
    del after.metadata_props[:]
    assert after == before


def test_we_read_what_onnx_writes(tmp_path):
    path = build_model(tmp_path / "model.onnx", 8)
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {"other": "ü", CARD_KEY: card_for(8).to_json(), "more": ""})
    onnx.save(model, path)
    assert read_card(path) == card_for(8)


def test_a_new_card_takes_the_place_of_the_old_one(tmp_path):
    path = build_model(tmp_path / "model.onnx", 8)
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {"other": "kept"})
    onnx.save(model, path)
    write_card(path, card_for(8, "first"))
    write_card(path, card_for(8, "second"))
    assert read_card(path).name == "second"
    assert [entry.key for entry in onnx.load(path).metadata_props] == ["other", CARD_KEY]


def test_a_card_survives_json():
    card = ModelCard(
        "höhle",
        65,
        ("a",),
        ("#000000",),
        training_lines=("inline 339",),
        scores={"test": 0.99},
        split={"kind": "random"},
    )
    assert ModelCard.from_json(card.to_json()) == card
    assert card.patch_centre == 32


def test_keys_that_we_do_not_know_are_left_out():
    entries = json.loads(card_for(8).to_json())
    assert ModelCard.from_json(json.dumps({**entries, "mood": "good"})) == card_for(8)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "The model card cannot be read: it is not JSON (Expecting property name enclosed in double quotes"),
        ("[]", "The model card cannot be read: it should be a JSON object like that of `infer card`."),
        ("7", "The model card cannot be read: it should be a JSON object like that of `infer card`."),
        (
            "{}",
            "The model card cannot be read: it has no name and no patch_size and no facies_names and no "
            "facies_colours.",
        ),
        (
            '{"card_version": 99}',
            "The model card has layout 99, and this version of facies-edge knows 1: install a newer facies-edge.",
        ),
        (
            '{"card_version": 1, "name": "m", "patch_size": 8, "facies_names": ["a", "b"], "facies_colours": []}',
            "The model card of 'm' cannot be used: it has 2 facies_names and 0 facies_colours.",
        ),
    ],
)
def test_a_bad_card_is_said_in_a_sentence(text, sentence):
    with pytest.raises(ModelError) as error:
        ModelCard.from_json(text)
    assert str(error.value).startswith(sentence)


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("patch_size", 64.0, "its patch_size is 64.0, and should be a whole number of samples"),
        ("patch_size", 0, "its patch_size is 0, and should be a whole number of samples"),
        (
            "patch_centre",
            0,
            "patches here have the axes trace, sample and their centre at index 4, and it says trace, sample and 0",
        ),
        (
            "axis_order",
            ["sample", "trace"],
            "patches here have the axes trace, sample and their centre at index 4, and it says sample, trace and 4",
        ),
        ("facies_names", "abc", "its facies_names should be a list of names"),
        ("facies_colours", ["blurp"] * 3, "its facies_colours should be a list of colours such as #4477aa"),
        ("training_lines", "inline 3", 'its training_lines should be a list such as ["inline 339"]'),
        ("precision", 8, "its precision is 8, and should be a name such as fp32"),
        ("scores", None, "its split and scores should be objects"),
        ("scores", {"test_accuracy": "99 %"}, "its scores should be numbers"),
    ],
)
def test_a_card_with_a_fault_is_refused(key, value, fault):
    entries = json.loads(card_for(8).to_json())
    with pytest.raises(ModelError) as error:
        ModelCard.from_json(json.dumps({**entries, key: value}))
    assert str(error.value) == f"The model card of 'tiny' cannot be used: {fault}."


def test_a_model_without_a_card_is_told_how_to_get_one(tmp_path):
    path = build_model(tmp_path / "model.onnx", 8)
    with pytest.raises(ModelError) as error:
        read_card(path)
    assert str(error.value) == (
        "model.onnx has no model card, which says its patch size and its facies. Write one as JSON (`infer card` "
        "prints the card of a model that has one) and give it to the model: `infer card model.onnx card.json`."
    )


def test_there_is_no_model(tmp_path):
    with pytest.raises(ModelNotFoundError) as error:
        read_card(tmp_path / "none.onnx")
    assert str(error.value) == f"There is no model at {tmp_path / 'none.onnx'}."


@pytest.mark.parametrize(
    "content",
    [
        b"hello, this is a text file",
        b"\xff" * 40,
        b"\x3a\xff\xff\x03half",
        b"\x3a\x00\x72\x01\xff",
        b"\x3a\x00\x72\x03\x0a\x01\xff",
    ],
)
def test_a_file_that_is_not_onnx(tmp_path, content):
    path = tmp_path / "text.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError) as error:
        read_card(path)
    assert str(error.value) == "text.onnx is not an ONNX model, or is damaged."


def test_an_empty_file_is_not_onnx(tmp_path):
    path = tmp_path / "empty.onnx"
    path.touch()
    with pytest.raises(ModelError) as error:
        read_card(path)
    assert str(error.value) == "empty.onnx is not an ONNX model: it holds no graph."


def test_a_write_that_fails_leaves_the_model_as_it_was(tmp_path, monkeypatch):
    path = build_model(tmp_path / "model.onnx", 8)
    before = path.read_bytes()

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OutputError) as error:
        write_card(path, card_for(8))
    assert str(error.value) == f"{path} could not be written: No space left on device."
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
