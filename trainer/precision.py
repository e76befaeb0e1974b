"""Makes an ONNX graph smaller and faster: half precision for GPUs, 8-bit integers for CPUs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.onnx_model import ONNXModel
from onnxruntime.transformers.float16 import convert_float_to_float16

CALIBRATION_PATCHES = 256
"""Enough for VGG16 on F3: with twice as many, one proof patch in 1,200 had another facies."""

_BATCH_SAMPLES = 32 * 64**2
_OF_THE_CONVOLUTIONS = ("Conv", "Relu", "MaxPool", "Add")


def in_precision(onnx_model: Any, precision: str, calibration: NDArray[np.float32]) -> Any:
    """The graph in `fp32`, `fp16` or `int8`; `patches` and `probabilities` stay float32, and the batch free.

    calibration: real patches `[patch, P, P]` that show `int8` how large activations become.
    """
    if precision == "fp16":
        return to_fp16(onnx_model)
    return to_int8(onnx_model, calibration) if precision == "int8" else onnx_model


def to_fp16(onnx_model: Any) -> Any:
    """The graph in half precision, between a cast of `patches` and one of `probabilities`."""
    halved = ONNXModel(convert_float_to_float16(onnx_model, keep_io_types=True))
    halved.topological_sort()  # the converter puts its casts last
    return halved.model


def to_int8(onnx_model: Any, calibration: NDArray[np.float32]) -> Any:
    """The graph with its convolutions in 8-bit integers, between QuantizeLinear and DequantizeLinear (static QDQ).

    Weights are int8 and symmetric, a scale for each channel; activations are uint8, a scale for each layer, from the
    least to the greatest value that `calibration` brings about. The head stays float32: it takes next to no time, and
    where two facies are about as probable its rounding would decide between them.
    """
    with TemporaryDirectory() as folder:
        float32, quantised = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        onnx.save(onnx_model, float32)  # given a graph, quantize_static takes the weights out of it
        quantize_static(
            float32,
            quantised,
            _Batches(calibration),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_OF_THE_CONVOLUTIONS),
            nodes_to_exclude=[node.name for node in onnx_model.graph.node if _adds_a_constant(node, onnx_model)],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        return onnx.load(quantised)


def _adds_a_constant(node: Any, onnx_model: Any) -> bool:
    """Whether a node adds a bias or an offset, as in the head and in scaling, rather than one map to another."""
    constants = {constant.name for constant in onnx_model.graph.initializer}
    return node.op_type == "Add" and not constants.isdisjoint(node.input)


class _Batches:
    """Patches batch by batch, as onnxruntime's calibration asks for them."""

    def __init__(self, patches: NDArray[np.float32]) -> None:
        size = max(1, _BATCH_SAMPLES // math.prod(patches.shape[1:]))
        starts = range(0, len(patches), size)
        self._batches: Iterator[NDArray[np.float32]] = (patches[start : start + size] for start in starts)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The next batch, or None after the last."""
        batch = next(self._batches, None)
        return None if batch is None else {"patches": batch}
