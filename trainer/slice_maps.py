"""The maps of a slice model: what holds a tensor of the patch model over a whole section, and how it is written.

A map `[1, channel, trace, sample]` holds one function along the traces and one along the samples (`slice_axes`). What
reads nothing but the patch's padding is a constant.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from infer.amplitude import UNDEFINED
from infer.card import ModelCard
from trainer.slice_axes import Axis, Run, Tap, runs

BATCH, CHANNEL, TRACE, SAMPLE = "batch", "channel", "trace", "sample"
PLACES = (TRACE, SAMPLE)
FLOAT32: np.dtype[Any] = np.dtype(np.float32)
PATCHES_AT_ONCE = 2  # where a model asks for the batch: any but 1, which every other dimension may be

Array = NDArray[Any]
Map = str | Array  # the name of a map [1, channel, trace, sample], or a constant [1, channel, 1, 1]
Layout = tuple[tuple[str, ...], ...]  # the labels that every dimension holds, the outermost first; none: of length 1
Pair = tuple[tuple[Tap, ...], tuple[Tap, ...]]  # what one map reads along the traces, and along the samples
Shifts = tuple[int, int]  # the first and the last


@dataclass(frozen=True, eq=False)
class Weights:
    """A kernel `[channel, channel / group of the source, trace, sample]` or a bias `[channel]`.

    Its values and, where the patch model makes these of integers, `(integers - zero_point) * scale`, the integers.
    """

    values: Array
    integers: Array | None = None
    scale: Array | None = None  # one, or one for each channel
    zero_point: Array | None = None

    def of_taps(self, rows: Sequence[int], columns: Sequence[int]) -> Weights:
        """The kernel's part with these rows and columns."""
        return self.changed(lambda kernel: kernel[:, :, rows][:, :, :, columns])

    def changed(self, change: Callable[[Array], Array]) -> Weights:
        """The same with other axes, but for the first."""
        integers = None if self.integers is None else change(self.integers)
        return replace(self, values=change(self.values), integers=integers)


@dataclass(eq=False)
class Tensor:
    """A tensor of the patch model: where its positions come from, and the maps that hold it."""

    axes: tuple[Axis, Axis]  # trace, sample
    channels: int
    layout: Layout
    dtype: np.dtype[Any] = FLOAT32
    maps: dict[tuple[int, int], Map] = field(default_factory=dict)  # of a function along either axis

    def __post_init__(self) -> None:
        """A dimension of length 1 is any dimension of length 1."""
        self.layout = tuple(
            tuple(label for label in labels if label == BATCH or self.size(label) > 1) for labels in self.layout
        )

    def size(self, label: str) -> int:
        """How long the dimension with that label is."""
        trace, sample = map(len, self.axes)
        return {BATCH: PATCHES_AT_ONCE, CHANNEL: self.channels, TRACE: trace, SAMPLE: sample}[label]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the tensor in the patch model."""
        return tuple(math.prod(map(self.size, labels)) for labels in self.layout)


@dataclass(frozen=True, eq=False)
class Step:
    """One operator: `write` gives the map of its output for what it reads along either axis."""

    sources: Sequence[Tensor]
    output: Tensor
    write: Callable[[Reading], Map]


@dataclass(frozen=True, eq=False)
class Reading:
    """What a map of a step's output is made of: parts of its sources' maps."""

    writer: Writer
    sources: Sequence[Tensor]
    taps: Pair
    needed: tuple[Shifts, Shifts]

    def maps(self) -> list[Map]:
        """Of every source the one that is read."""
        return [
            self._part(
                row.source, (row.function, column.function), (row.shift, row.shift), (column.shift, column.shift)
            )
            for row, column in zip(*self.taps, strict=True)
        ]

    def windows(self) -> Iterator[tuple[Map, Run, Run]]:
        """What is read of the only source in regular windows, as few as possible."""
        for rows in runs(self.taps[0]):
            for columns in runs(self.taps[1]):
                functions = rows.function, columns.function
                yield self._part(0, functions, (rows.first, rows.last), (columns.first, columns.last)), rows, columns

    def _part(self, source: int, functions: tuple[int, int], *shifts: Shifts) -> Map:
        reach = [(low + first, high + last) for (low, high), (first, last) in zip(self.needed, shifts, strict=True)]
        return self.writer.crop(self.sources[source], functions, reach)

    def convolved(self, weigh: Callable[[Run, Run], Weights], bias: Weights, group: int) -> Map:
        """The sum of all windows, each with its weights, and of the bias."""
        convolved, constant = [], []
        for read, rows, columns in self.windows():
            kernel = weigh(rows, columns)
            if isinstance(read, str):
                convolved.append((read, kernel, [rows.dilation, columns.dilation]))
            else:
                values = np.repeat(read.reshape(group, -1), len(kernel.values) // group, axis=0)
                constant.append((kernel.values.sum((2, 3), dtype=np.float64) * values).sum(1))
        if constant:
            bias = Weights((bias.values + np.sum(constant, axis=0)).astype(bias.values.dtype))
        if not convolved:
            return bias.values.reshape(1, -1, 1, 1)
        total = ""
        for read, kernel, dilations in convolved:
            self.writer.multiply_adds += kernel.values.size
            inputs: list[Map] = [read, self.writer.weights(kernel)]
            inputs += [] if total else [self.writer.weights(bias)]
            shape = kernel.values.shape[2:]
            part = self.writer.node("Conv", inputs, kernel_shape=shape, dilations=dilations, group=group)
            total = self.writer.node("Add", [total, part]) if total else part
        return total

    def largest(self) -> Map:
        """The largest value of all windows."""
        constants, names = [], []
        for read, rows, columns in self.windows():
            sizes, dilations = [len(rows.taps), len(columns.taps)], [rows.dilation, columns.dilation]
            if not isinstance(read, str):
                constants.append(read)
            elif sizes == [1, 1]:
                names.append(read)
            else:
                names.append(self.writer.node("MaxPool", [read], kernel_shape=sizes, dilations=dilations))
        parts: list[Map] = [*names, *([np.max(constants, axis=0)] if constants else [])]
        return self.writer.node("Max", parts) if len(parts) > 1 else parts[0]


class Writer:
    """Writes the slice model."""

    def __init__(self, opset: int) -> None:
        self.multiply_adds = 0
        self._opset = opset
        self._nodes: list[Any] = []
        self._initializers: dict[str, Any] = {}
        self._names: dict[tuple[Any, ...], str] = {}  # of constants and crops that are there already
        self._kept: list[Array] = []

    def write(self, step: Step) -> None:
        """All maps of the step's output that something needs."""
        rows, columns = step.output.axes
        for row in _used(rows):
            for column in _used(columns):
                taps = rows.functions[row], columns.functions[column]
                needed = rows.needed.get(row, (0, 0)), columns.needed.get(column, (0, 0))
                step.output.maps[row, column] = step.write(Reading(self, step.sources, taps, needed))

    def node(self, operator: str, inputs: Sequence[Map], **attributes: Any) -> str:
        """A new node; what it gives has its name."""
        name = f"{operator.lower()}_{len(self._nodes)}"
        names = [value if isinstance(value, str) else self._constant(value) for value in inputs]
        self._nodes.append(helper.make_node(operator, names, [name], name=name, **attributes))
        return name

    def apply(self, node: Any, values: Sequence[Map], attributes: Mapping[str, Any]) -> Map:
        """A node of the patch model applied to maps and constants."""
        given = attributes_of(node) | dict(attributes)
        names = [value for value in values if isinstance(value, str) and value]
        if not names:
            inputs = {f"value_{at}": value for at, value in enumerate(values) if not isinstance(value, str)}
            of_values = [f"value_{at}" if f"value_{at}" in inputs else "" for at in range(len(values))]
            return evaluated(helper.make_node(node.op_type, of_values, ["result"], **given), inputs, self._opset)[0]
        if node.op_type == "Concat":  # alone among these operators it does not spread constants over a map
            values = [value if isinstance(value, str) else self._spread(value, names[0]) for value in values]
        return self.node(node.op_type, values, **given)

    def weights(self, weights: Weights) -> Map:
        """The weights as they are written: integers for one node alone, since onnxruntime cannot share them.

        Where its session makes int8 uint8 (`infer.sessions.session_options`), it refuses what two nodes have in common.
        """
        if weights.integers is None or weights.scale is None or weights.zero_point is None:
            return weights.values
        whole, zero_point = self._initializer(weights.integers), self._initializer(weights.zero_point)
        return self.node("DequantizeLinear", [whole, weights.scale, zero_point], axis=0)

    def _spread(self, constant: Array, like: str) -> str:
        """A map of the constant, as large as another."""
        size = self.node("Slice", [self.node("Shape", [like]), integers(2), integers(4)])
        return self.node("Expand", [constant, self.node("Concat", [integers(*constant.shape[:2]), size], axis=0)])

    def crop(self, source: Tensor, functions: tuple[int, int], wanted: Sequence[Shifts]) -> Map:
        """A map of the source from the first to the last shift `wanted` along either axis."""
        whole = source.maps[functions]
        if not isinstance(whole, str):
            return whole
        axes, starts, ends = [], [], []
        for axis, (function, (first, last)) in enumerate(zip(functions, wanted, strict=True)):
            low, high = source.axes[axis].needed[function]
            if (first, last) != (low, high):
                axes.append(axis + 2)
                starts.append(first - low)
                ends.append(last - high or np.iinfo(np.int64).max)
        if not axes:
            return whole
        key = (whole, *axes, *starts, *ends)
        if key not in self._names:
            self._names[key] = self.node("Slice", [whole, *(integers(*edges) for edges in (starts, ends, axes))])
        return self._names[key]

    def _constant(self, values: Array) -> str:
        """Of equal small constants there is one, and of large ones that are the same array: kernels of many maps."""
        small = values.size <= 4096
        key = (values.dtype.str, values.shape, values.tobytes()) if small else (id(values),)
        if key not in self._names:
            self._names[key] = self._initializer(values)
            self._kept.append(values)  # lest another array gets its id
        return self._names[key]

    def _initializer(self, values: Array, name: str = "") -> str:
        name = name or f"constant_{len(self._initializers)}"
        self._initializers[name] = numpy_helper.from_array(np.asarray(values, order="C"), name)
        return name

    def scaled_and_padded(self, card: ModelCard) -> str:
        """Scaled amplitude as `infer.amplitude` has it, and zeros around it."""
        before = card.patch_size // 2
        after = card.patch_size - 1 - before
        clip = self._initializer(np.array(card.amplitude_clip or 1.0, np.float32), "amplitude_clip")
        padding = self._initializer(integers(before, before, after, after), "padding")
        undefined, minus_one, zero, one = (np.array(value, np.float32) for value in (UNDEFINED, -1, 0, 1))
        is_amplitude = self.node("Less", [self.node("Abs", ["section"]), undefined])  # false for NaN
        scaled = self.node("Div", [self.node("Where", [is_amplitude, "section", zero]), clip])
        clipped = self.node("Clip", [scaled, minus_one, one])
        return self.node("Unsqueeze", [self.node("Pad", [clipped, padding, zero]), integers(0, 1)])

    def name_outputs(self, probabilities: str) -> None:
        """The facies and the probabilities, without the dimension of the batch."""
        best = self.node("Squeeze", [self.node("ArgMax", [probabilities], axis=1, keepdims=0), integers(0)])
        self._nodes.append(helper.make_node("Cast", [best], ["facies"], name="facies", to=TensorProto.INT8))
        of_facies = [probabilities, self._constant(integers(0))]
        self._nodes.append(helper.make_node("Squeeze", of_facies, ["probabilities"], name="probabilities"))

    def model(self, card: ModelCard, ir_version: int) -> Any:
        """What was written, as an onnx.ModelProto."""
        values, size = helper.make_tensor_value_info, [TRACE, SAMPLE]
        inputs = [
            values("section", TensorProto.FLOAT, size),
            values("amplitude_clip", TensorProto.FLOAT, []),
            values("padding", TensorProto.INT64, [4]),
        ]
        outputs = [
            values("facies", TensorProto.INT8, size),
            values("probabilities", TensorProto.FLOAT, [len(card.facies_names), *size]),
        ]
        initializers = list(self._initializers.values())
        graph = helper.make_graph(self._nodes, f"{card.name} slice", inputs, outputs, initializers)
        opsets = [helper.make_operatorsetid("", self._opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version, producer_name="facies-edge")


def attributes_of(node: Any) -> dict[str, Any]:
    """Of an ONNX node, by name."""
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def evaluated(node: Any, values: Mapping[str, Array], opset: int) -> list[Array]:
    """What the node gives for constants."""
    inputs = {name: np.asarray(values[name]) for name in node.input if name}
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in inputs.items()
    ]
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.output]
    graph = helper.make_graph([node], "constant", infos, outputs)
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        opset = max(opset, 19)  # onnx's reference has no older ones, and what was said before means the same
    model = helper.make_model(graph, opset_imports=[helper.make_operatorsetid("", opset)])
    results: list[Array] = ReferenceEvaluator(model).run(None, inputs)
    return results


def _used(axis: Axis) -> list[int]:
    return [function for function, constant in enumerate(axis.constant) if constant or function in axis.needed]


def integers(*values: int) -> Array:
    """As ONNX has them."""
    return np.array(values, np.int64)
