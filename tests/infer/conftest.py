"""Tiny patch models, built with `onnx` alone so that the runtime is tested without TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from infer.card import ModelCard, read_card, write_card

FACIES = ("layers", "salt", "else")
COLOURS = ("#4477aa", "#ee6677", "#bbbbbb")


def card_for(patch_size: int, name: str = "tiny") -> ModelCard:
    return ModelCard(name, patch_size, FACIES, COLOURS, weights_sha256=f"{patch_size:064x}")


def build_model(path: Path, patch_size: int, batch: str | int = "batch") -> Path:
    """Convolution, ReLU, dense and softmax with random weights: depends on every sample of its patch."""
    rng = np.random.default_rng(patch_size)
    steps = (patch_size - 3) // 2 + 1
    weights = {
        "kernel": rng.standard_normal((4, 1, 3, 3)).astype(np.float32),
        "dense": (rng.standard_normal((4 * steps * steps, len(FACIES))) / steps).astype(np.float32),
        "image": np.array([-1, 1, patch_size, patch_size], np.int64),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Reshape", ["patches", "image"], ["x0"]),
            helper.make_node("Conv", ["x0", "kernel"], ["x1"], strides=[2, 2]),
            helper.make_node("Relu", ["x1"], ["x2"]),
            helper.make_node("Flatten", ["x2"], ["x3"]),
            helper.make_node("MatMul", ["x3", "dense"], ["x4"]),
            helper.make_node("Softmax", ["x4"], ["probabilities"], axis=1),
        ],
        "tiny",
        [helper.make_tensor_value_info("patches", TensorProto.FLOAT, [batch, patch_size, patch_size])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [batch, len(FACIES)])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def tiny_model(tmp_path: Path) -> Callable[[int], Path]:
    """Builds a patch model with a card for a patch size, and returns its path."""

    def build(patch_size: int) -> Path:
        path = build_model(tmp_path / f"tiny{patch_size}.onnx", patch_size)
        write_card(path, card_for(patch_size))
        return path

    return build


def compile_slice(path: Path, folder: Path) -> Path:
    """The slice model of the patch model at `path`, in `folder`."""
    from trainer.slicegraph import slice_graph

    card = read_card(path)
    compiled = folder / f"{path.stem}.slice.onnx"
    compiled.write_bytes(slice_graph(onnx.load(path), card).model.SerializeToString())
    write_card(compiled, card)
    return compiled


@pytest.fixture
def sliced_model(tiny_model: Callable[[int], Path]) -> Callable[[int], Path]:
    """Builds a patch model and its slice model beside it, and returns the path of the patch model."""

    def build(patch_size: int) -> Path:
        path = tiny_model(patch_size)
        compile_slice(path, path.parent)
        return path

    return build
