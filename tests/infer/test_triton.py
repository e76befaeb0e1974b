"""The model repository: what Triton's own schema reads in it, and what the models in it answer."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import threading
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from infer import cli
from infer.errors import OutputError
from infer.hosts.offered import offer
from infer.hosts.triton import write_repository
from infer.models import find_model, slice_path


@pytest.fixture(scope="module")
def offered():
    return offer(["demo"], "cpu")


@pytest.fixture(scope="module")
def repository(offered, tmp_path_factory):
    folder = tmp_path_factory.mktemp("triton") / "models"
    write_repository(folder, offered)
    return folder


def contents(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def schema():
    """Triton's ModelConfig, which tritonclient brings; without its gRPC client."""
    pytest.importorskip("google.protobuf")
    package = Path(pytest.importorskip("tritonclient").__file__).parent
    spec = importlib.util.spec_from_file_location("model_config_pb2", package / "grpc" / "model_config_pb2.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def configurations(repository, schema):
    from google.protobuf import text_format

    return {
        name: text_format.Parse((repository / name / "config.pbtxt").read_text(), schema.ModelConfig())
        for name in ("demo", "demo_slice")
    }


def file_of(name):
    path = find_model("demo")
    return path if name == "demo" else slice_path(path)


def test_the_layout(repository):
    assert contents(repository) == [
        "demo/1/model.onnx",
        "demo/config.pbtxt",
        "demo_slice/1/model.onnx",
        "demo_slice/config.pbtxt",
    ]
    for name in ("demo", "demo_slice"):
        assert (repository / name / "1" / "model.onnx").read_bytes() == file_of(name).read_bytes()


@pytest.mark.parametrize("name", ["demo", "demo_slice"])
def test_a_configuration_is_of_the_model_beside_it(configurations, schema, name):
    """Read from the file: names and types; free dimensions as -1, a scalar as [1]; with an initializer, optional."""
    said, graph = configurations[name], onnx.load(file_of(name)).graph
    assert (said.name, said.platform) == (name, "onnxruntime_onnx")
    datatypes = {
        onnx.TensorProto.FLOAT: schema.TYPE_FP32,
        onnx.TensorProto.INT8: schema.TYPE_INT8,
        onnx.TensorProto.INT64: schema.TYPE_INT64,
    }

    def dims(value):
        sizes = [size.dim_value or -1 for size in value.type.tensor_type.shape.dim] or [1]
        return sizes[1:] if said.max_batch_size else sizes

    initializers = {one.name for one in graph.initializer}
    assert [(one.name, one.data_type, list(one.dims), one.optional) for one in said.input] == [
        (one.name, datatypes[one.type.tensor_type.elem_type], dims(one), one.name in initializers)
        for one in graph.input
    ]
    assert [(one.name, one.data_type, list(one.dims)) for one in said.output] == [
        (one.name, datatypes[one.type.tensor_type.elem_type], dims(one)) for one in graph.output
    ]


def test_patches_come_in_batches_and_sections_one_by_one(configurations):
    assert configurations["demo"].max_batch_size == 1024
    assert configurations["demo"].WhichOneof("scheduling_choice") == "dynamic_batching"
    assert configurations["demo_slice"].max_batch_size == 0
    assert configurations["demo_slice"].WhichOneof("scheduling_choice") is None


def test_the_models_answer_as_the_service_does(repository, offered):
    """Inputs as the service takes them; a [1] is given to the graph as a scalar, which Triton's backend does."""
    patch_model, slice_model = offered
    rng = np.random.default_rng(0)
    patches = rng.uniform(-1, 1, (5, 64, 64)).astype(np.float32)
    section, clip = rng.normal(0, 500, (150, 40)).astype(np.float32), np.array([900], np.float32)

    def run(name, inputs):
        session = ort.InferenceSession(repository / name / "1" / "model.onnx")
        return dict(zip([one.name for one in session.get_outputs()], session.run(None, inputs), strict=True))

    def answer(model, inputs):
        return model.answer(inputs, threading.Event())

    expected = run("demo", {"patches": patches})["probabilities"]
    np.testing.assert_allclose(answer(patch_model, {"patches": patches})["probabilities"], expected, atol=1e-6)

    expected = run("demo_slice", {"section": section, "amplitude_clip": clip.reshape(())})
    own = answer(slice_model, {"section": section, "amplitude_clip": clip})
    np.testing.assert_array_equal(own["facies"], expected["facies"])
    np.testing.assert_allclose(own["probabilities"], expected["probabilities"], atol=1e-5)
    assert {name: array.dtype for name, array in own.items()} == {name: array.dtype for name, array in expected.items()}


def test_an_empty_folder_is_taken_and_another_is_not(offered, repository, tmp_path):
    (tmp_path / "empty").mkdir()
    write_repository(tmp_path / "empty", offered)
    assert contents(tmp_path / "empty") == contents(repository)

    with pytest.raises(OutputError) as error:
        write_repository(tmp_path / "empty", offered)
    assert str(error.value) == (
        f"{tmp_path / 'empty'} is there and not empty: give a new folder for the model repository."
    )
    (tmp_path / "file").touch()
    with pytest.raises(OutputError) as error:
        write_repository(tmp_path / "file", offered)
    assert str(error.value) == f"{tmp_path / 'file'} cannot be written: it is a file."
    with pytest.raises(OutputError) as error:
        write_repository(tmp_path / "none" / "models", offered)
    assert str(error.value) == f"{tmp_path / 'none' / 'models'} could not be written: No such file or directory."


def test_nothing_is_left_of_half_a_repository(offered, tmp_path, monkeypatch):
    copy, copied = shutil.copyfile, []

    def copy_one(source, target):
        copied.append(target)
        if len(copied) == 2:
            raise OSError(28, "No space left on device")
        copy(source, target)

    monkeypatch.setattr(shutil, "copyfile", copy_one)
    with pytest.raises(OutputError) as error:
        write_repository(tmp_path / "models", offered)
    assert str(error.value) == f"{tmp_path / 'models'} could not be written: No space left on device."
    assert len(copied) == 2
    assert list(tmp_path.iterdir()) == []


def test_the_command(tmp_path, monkeypatch, capsys, tiny_model):
    def run(*words):
        monkeypatch.setattr(sys, "argv", ["infer", "host", "triton", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code or 0, *capsys.readouterr()

    monkeypatch.chdir(tmp_path)
    assert run("models", "--model", "demo", "--model", tiny_model(8)) == (
        0,
        "Wrote demo, demo_slice, tiny8 to models\n",
        "",
    )
    assert run("models")[0] == 2
    assert run("other", "--model", "waldo")[0] == 2
    assert not Path("other").exists()
