"""A model repository for NVIDIA's Triton Inference Server: what `infer serve` offers, with nothing to rewrite.

Source: Triton's user guide ("Model Repository", "Model Configuration") and its onnxruntime backend: an input that
overrides an initializer is `optional`, which only models without batches may have, and a scalar has dims [1].
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path

from infer.errors import OutputError
from infer.hosts.offered import VERSION, Offered
from infer.hosts.open_inference import Tensor

PADDING = Tensor("padding", "INT64", (4,), optional=True)
"""What a slice model takes besides what the service does: the service cuts a large section into tiles by itself, and
with Triton the client may."""


def write_repository(folder: Path, offered: Iterable[Offered]) -> None:
    """Write `folder`/NAME/config.pbtxt and `folder`/NAME/1/model.onnx for every model; all of it or nothing.

    Raises OutputError: the folder is there and holds something, or cannot be written.
    """
    target = folder.resolve()
    if target.exists() and not target.is_dir():
        raise OutputError(f"{folder} cannot be written: it is a file.")
    temporary = target.with_name(f".{uuid.uuid4().hex[:12]}.part.{target.name}")
    try:
        if target.is_dir() and any(target.iterdir()):
            raise OutputError(f"{folder} is there and not empty: give a new folder for the model repository.")
        temporary.mkdir()
        for one in offered:
            model = temporary / one.name / VERSION / "model.onnx"
            model.parent.mkdir(parents=True)
            shutil.copyfile(one.path, model)
            (temporary / one.name / "config.pbtxt").write_text(configuration(one), encoding="utf-8")
        if target.is_dir():
            target.rmdir()
        temporary.rename(target)
    except OSError as error:
        raise OutputError(f"{folder} could not be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def configuration(one: Offered) -> str:
    """The text of a model's config.pbtxt."""
    inputs = one.inputs if one.max_batch else (*one.inputs, PADDING)
    lines = [
        f'name: "{one.name}"',
        'platform: "onnxruntime_onnx"',
        f"max_batch_size: {one.max_batch}",
        *_tensors("input", inputs, one.max_batch > 0),
        *_tensors("output", one.outputs, one.max_batch > 0),
    ]
    if one.max_batch:
        lines.append("dynamic_batching { }")  # requests that wait while a batch runs are the next batch
    return "\n".join(lines) + "\n"


def _tensors(kind: str, tensors: Sequence[Tensor], batched: bool) -> list[str]:
    """Where there are batches, Triton counts the first axis by itself."""
    lines = []
    for tensor in tensors:
        dims = ", ".join(map(str, tensor.shape[1:] if batched else tensor.shape))
        lines += [
            f"{kind} {{",
            f'  name: "{tensor.name}"',
            f"  data_type: TYPE_{tensor.datatype}",
            f"  dims: [ {dims} ]",
            *(["  optional: true"] if tensor.optional else []),
            "}",
        ]
    return lines
