"""Compiles a patch model into a slice model: a whole section in, the facies of every sample out.

Every layer of a patch model is followed along each axis (`slice_axes`), and evaluated once per pair of functions, one
of the trace axis and one of the sample axis, as a map over the whole section: `[1, channel, trace, sample]`. Strides
become dilations, a flattened patch before a dense layer becomes a convolution over all positions that are left. The
answer is the patch model's at every sample of the zero-padded section, to rounding. Standard operators only.

First `_Follower` goes through the patch model and notes its steps; then every map learns how far it is needed; then
`slice_maps.Writer` writes them, step by step.

Related: Giusti et al. 2013, "Fast image scanning with deep max-pooling convolutional neural networks".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from infer.card import ModelCard
from infer.errors import InferError
from trainer.slice_axes import Axis, Read, Run, axis_after, padded, pass_needs_on, patch_axis
from trainer.slice_maps import (
    BATCH,
    CHANNEL,
    PLACES,
    SAMPLE,
    TRACE,
    Array,
    Layout,
    Map,
    Reading,
    Step,
    Tensor,
    Weights,
    Writer,
    attributes_of,
    evaluated,
)

WORTH = 2.5
"""A slice model needs at most the patch model's multiply-adds over this: maps have to be written and read as well."""

OLDEST_OPSET = 13
"""Before it, axes were attributes and Softmax flattened what it took."""

_ELEMENTWISE = (
    "Abs Add Cast Clip Div Elu Erf Exp Gelu HardSigmoid HardSwish LeakyRelu Log Max Mean Min Mish Mul Neg PRelu Pow "
    "Reciprocal Relu Selu Sigmoid Softplus Softsign Sqrt Sub Sum Tanh ThresholdedRelu"
)


class SliceError(InferError, ValueError):
    """A patch model that cannot be compiled, or for which it does not pay."""


@dataclass(frozen=True, eq=False)
class SliceGraph:
    """A slice model, and what it saves."""

    model: Any  # onnx.ModelProto
    patch_multiply_adds: int  # for one sample, by the patch model
    slice_multiply_adds: int  # for one sample, on a large section

    @property
    def saving(self) -> float:
        """How many times fewer multiply-adds."""
        return self.patch_multiply_adds / max(1, self.slice_multiply_adds)

    def report(self) -> str:
        """Both numbers, as a sentence."""
        return (
            f"A sample takes {self.slice_multiply_adds:,} multiply-adds in place of {self.patch_multiply_adds:,}: "
            f"{self.saving:.1f} times fewer."
        )


def slice_graph(patch_model: Any, card: ModelCard) -> SliceGraph:
    """The slice model of a patch model (an onnx.ModelProto) with that card.

    Input `section` `[trace, sample]`, raw amplitude; optional inputs `amplitude_clip` (the card's) and `padding`
    `[4]`, the zeros before traces, before samples, after traces, after samples (those of a whole section by default;
    fewer where the section is a part and brings its surroundings along). Outputs `facies` int8 `[trace, sample]` and
    `probabilities` `[facies, trace, sample]`.

    Raises SliceError: an operator that cannot be followed, by name; or a model that is not by the contract.
    """
    follower = _Follower(patch_model, card.patch_size)
    probabilities = follower.probabilities(len(card.facies_names))
    _find_needs(follower, probabilities)
    writer = Writer(follower.opset)
    follower.patches.maps[0, 0] = writer.scaled_and_padded(card)
    for step in follower.steps:
        writer.write(step)
    writer.name_outputs(_answer(probabilities))
    model = writer.model(card, max(patch_model.ir_version, 4))  # from 4 on an initializer may be an input or not
    return SliceGraph(model, follower.multiply_adds, writer.multiply_adds)


def check_worth(graph: SliceGraph, name: str) -> None:
    """Raise SliceError where a slice model would hardly be quicker than patches."""
    if graph.saving < WORTH:
        raise SliceError(f"A slice model of {name} would not pay. {graph.report()}")


def _find_needs(follower: _Follower, probabilities: Tensor) -> None:
    """Let every function know how far its map has to reach, from the answer back to the patch."""
    for axis in probabilities.axes:
        position = axis.positions[0]
        axis.need(position.function, position.shift, position.shift)
    for step in reversed(follower.steps):
        for axis, *sources in zip(step.output.axes, *(source.axes for source in step.sources), strict=True):
            pass_needs_on(axis, sources)
    for axis in follower.patches.axes:
        axis.needed[0] = (0, len(axis) - 1)


def _answer(probabilities: Tensor) -> str:
    """The one map of the probabilities."""
    trace, sample = (axis.positions[0].function for axis in probabilities.axes)
    name = probabilities.maps[trace, sample]
    if not isinstance(name, str):
        raise SliceError("The patch model gives the same probabilities whatever the patch.")
    return name


class _Follower:
    """Goes through a patch model, node after node: `tensors` hold what depends on patches, `constants` the rest."""

    def __init__(self, patch_model: Any, patch_size: int) -> None:
        self.opset = max(opset.version for opset in patch_model.opset_import if opset.domain in ("", "ai.onnx"))
        self.patches = Tensor((patch_axis(patch_size), patch_axis(patch_size)), 1, _layout(BATCH, TRACE, SAMPLE))
        self.steps: list[Step] = []
        self.multiply_adds = 0
        _check_contract(patch_model, patch_size, self.opset)
        self._tensors = {"patches": self.patches}
        self._constants: dict[str, Array] = {
            value.name: numpy_helper.to_array(value) for value in patch_model.graph.initializer
        }
        self._of_integers: dict[str, Weights] = {}  # constants of the patch model that are
        self._check_operators(patch_model.graph.node)
        for node in patch_model.graph.node:
            self._follow(node)

    def probabilities(self, facies: int) -> Tensor:
        """What the patch model gives."""
        tensor = self._tensors.get("probabilities")
        if tensor is None or tensor.layout != _layout(BATCH, CHANNEL) or tensor.channels != facies:
            raise SliceError(
                f"The patch model gives no `probabilities` [batch, {facies}] that depend on the patches: what its card "
                "says of its facies, or the model itself, is not by the contract."
            )
        return tensor

    def _check_operators(self, nodes: Sequence[Any]) -> None:
        """Before anything else, so that a model is refused for what it is and not for what happens to come first."""
        from_patches = {"patches"}
        for node in nodes:
            if from_patches.intersection(node.input) and node.op_type != "Shape":
                from_patches.update(node.output)
                if self._method(node) is None:
                    raise _unknown(node)

    def _method(self, node: Any) -> Callable[[Any], None] | None:
        """What follows the node's operator."""
        if node.domain not in ("", "ai.onnx"):
            return None
        elementwise = node.op_type in _ELEMENTWISE.split()
        return getattr(self, f"_follow_{'elementwise' if elementwise else node.op_type.lower()}", None)

    def _follow(self, node: Any) -> None:
        unknown = [name for name in node.input if name and name not in self._constants and name not in self._tensors]
        if unknown:
            raise _unfollowed(node, f"its input {unknown[0]} is none that can be followed")
        follow = self._method(node)
        if any(name in self._tensors for name in node.input) and follow is not None:
            follow(node)
            return
        try:
            self._constants.update(zip(node.output, evaluated(node, self._constants, self.opset), strict=False))
        except RuntimeError as error:  # onnx's reference has no such operator, or not of that version
            raise _unknown(node) from error
        if node.op_type == "DequantizeLinear":
            self._note_integers(node)

    def _note_integers(self, node: Any) -> None:
        """Keep what a constant is made of, if each of its channels has a scale or they have one for all."""
        scale, axis = self._weight(node, 1), attributes_of(node).get("axis", 1)
        integers, values = self._weight(node, 0), self._constants[node.output[0]]
        if scale.size == 1 or axis % integers.ndim == 0:
            zero_point = np.zeros(scale.shape, integers.dtype) if len(node.input) < 3 else self._weight(node, 2)
            self._of_integers[node.output[0]] = Weights(values, integers, scale, zero_point)

    def _source(self, node: Any) -> Tensor:
        """The node's first input, which depends on the patches."""
        if node.input[0] not in self._tensors:
            raise _unfollowed(node, f"its first input ({node.input[0]}) does not come from the patches")
        return self._tensors[node.input[0]]

    def _weight(self, node: Any, at: int) -> Array:
        """One of the node's inputs, which is a constant."""
        if node.input[at] not in self._constants:
            raise _unfollowed(node, f"its input {node.input[at]} is no constant")
        return self._constants[node.input[at]]

    def _weights(self, node: Any, at: int) -> Weights:
        """The same with the integers that it is made of, if it is."""
        return self._of_integers.get(node.input[at]) or Weights(self._weight(node, at))

    def _option(self, node: Any, at: int) -> Array | None:
        """The same of an input that may be left out."""
        return self._weight(node, at) if len(node.input) > at and node.input[at] else None

    def _add(
        self,
        node: Any,
        sources: Sequence[Tensor],
        axes: Iterable[Axis],
        channels: int,
        layout: Layout,
        write: Callable[[Reading], Map],
        dtype: np.dtype[Any] | None = None,
    ) -> None:
        trace, sample = axes
        if not trace or not sample:
            raise _unfollowed(node, "it leaves nothing of the patch")
        output = Tensor((trace, sample), channels, layout, sources[0].dtype if dtype is None else dtype)
        self._tensors[node.output[0]] = output
        self.steps.append(Step(sources, output, write))

    # The same values in other dimensions.

    def _follow_identity(self, node: Any) -> None:
        self._tensors[node.output[0]] = self._source(node)

    _follow_dropout = _follow_identity

    def _follow_shape(self, node: Any) -> None:
        self._constants[node.output[0]] = self._of_its_shape(node)

    def _follow_transpose(self, node: Any) -> None:
        tensor = self._source(node)
        order = attributes_of(node).get("perm", range(len(tensor.layout))[::-1])
        if order[0] != 0:
            raise _unfollowed(node, "it moves the batch from the first place")
        self._tensors[node.output[0]] = replace(tensor, layout=tuple(tensor.layout[at] for at in order))

    def _follow_reshape(self, node: Any) -> None:
        """Dimensions join or part, and those of length 1 come and go; what they hold stays in order."""
        tensor = self._source(node)
        self._option(node, 1)
        shape = self._of_its_shape(node).shape
        labels = [label for labels in tensor.layout for label in labels]
        layout = []
        for size in shape:
            joined: list[str] = []
            while labels and math.prod(map(tensor.size, joined)) < size:
                joined.append(labels.pop(0))
            layout.append(tuple(joined))
        reshaped = replace(tensor, layout=tuple(layout))
        if reshaped.shape != shape or reshaped.layout[0] != (BATCH,):
            raise _unfollowed(node, f"it makes [{_written(shape[1:])}] of the dimensions {_described(tensor.layout)}")
        self._tensors[node.output[0]] = reshaped

    _follow_flatten = _follow_squeeze = _follow_unsqueeze = _follow_reshape

    def _of_its_shape(self, node: Any) -> Array:
        """What the node, for which only the shape of its first input matters, gives."""
        values = {**self._constants, node.input[0]: np.zeros(self._source(node).shape, np.float32)}
        return evaluated(node, values, self.opset)[0]

    # Operators that read windows of positions.

    def _follow_conv(self, node: Any) -> None:
        tensor, attributes = self._source(node), attributes_of(node)
        order = self._image_order(node, tensor)
        kernel, layout = self._weight(node, 1), _layout(BATCH, CHANNEL, *order)
        axes = _by_window(tensor, order, kernel.shape[2:], attributes)
        weights = self._weights(node, 1)
        if order != PLACES:
            weights = weights.changed(lambda values: values.swapaxes(2, 3))
        none = Weights(np.zeros(len(kernel), kernel.dtype))
        bias = none if self._option(node, 2) is None else self._weights(node, 2)
        self._convolution(node, weights, bias, axes, layout, attributes.get("group", 1))

    def _follow_matmul(self, node: Any) -> None:
        self._dense(node, self._weight(node, 1), None)

    def _follow_gemm(self, node: Any) -> None:
        attributes = attributes_of(node)
        weights, bias = self._weight(node, 1), self._option(node, 2)
        if attributes.get("transA"):
            raise _unfollowed(node, "it transposes its first input")
        weights = attributes.get("alpha", 1.0) * (weights.T if attributes.get("transB") else weights)
        self._dense(node, weights, None if bias is None else attributes.get("beta", 1.0) * bias)

    def _dense(self, node: Any, weights: Array, bias: Array | None) -> None:
        """A convolution over the positions that the last dimension holds: all of them, or none but its own."""
        tensor = self._source(node)
        summed, kept = tensor.layout[-1], tensor.layout[:-1]
        if weights.ndim != 2 or any(CHANNEL in labels for labels in kept):
            raise _unfollowed(node, f"it multiplies {_described(tensor.layout)}")
        labels, out = (CHANNEL, TRACE, SAMPLE), weights.shape[1]
        kernel = weights.T.reshape([out, *map(tensor.size, summed)])
        kernel = kernel.transpose([0, *(summed.index(label) + 1 for label in labels if label in summed)])
        kernel = np.expand_dims(kernel, tuple(at + 1 for at, label in enumerate(labels) if label not in summed))
        axes = [
            _whole(axis, range(len(axis))) if label in summed else _itself(axis)
            for axis, label in zip(tensor.axes, PLACES, strict=True)
        ]
        added = np.broadcast_to(np.zeros(1) if bias is None else bias.reshape(-1), out).astype(kernel.dtype)
        self._convolution(node, Weights(kernel), Weights(added), axes, (*kept, (CHANNEL,)), 1)

    def _convolution(
        self, node: Any, kernel: Weights, bias: Weights, axes: Sequence[Axis], layout: Layout, group: int
    ) -> None:
        """kernel: `[channel, channel / group of the source, trace, sample]`."""
        self.multiply_adds += kernel.values.size * math.prod(map(len, axes))
        part = cache(kernel.of_taps)

        def write(reading: Reading) -> Map:
            return reading.convolved(lambda rows, columns: part(rows.taps, columns.taps), bias, group)

        self._add(node, [self._source(node)], axes, len(kernel.values), layout, write)

    def _follow_maxpool(self, node: Any) -> None:
        tensor, order, axes = self._pooled(node)
        self._add(node, [tensor], axes, tensor.channels, _layout(BATCH, CHANNEL, *order), Reading.largest)

    def _follow_averagepool(self, node: Any) -> None:
        _, order, axes = self._pooled(node)
        self._average(node, axes, _layout(BATCH, CHANNEL, *order))

    def _pooled(self, node: Any) -> tuple[Tensor, tuple[str, ...], list[Axis]]:
        """In the place of its tap every read has how many positions are averaged: what else tells windows apart."""
        tensor, attributes = self._source(node), attributes_of(node)
        order = self._image_order(node, tensor)
        sizes, padding_counts = attributes["kernel_shape"], attributes.get("count_include_pad", 0)
        axes = _by_window(tensor, order, sizes, attributes, counted=sizes if padding_counts else (0, 0))
        if any(not taps for axis in axes for taps in axis.functions):
            raise _unfollowed(node, "one of its windows holds nothing but padding")
        rounded_down = _by_window(tensor, order, sizes, attributes | {"ceil_mode": 0})
        if padding_counts and [*map(len, axes)] != [*map(len, rounded_down)]:
            raise _unfollowed(node, "its windows reach beyond the padding (ceil_mode) that they count")
        return tensor, order, axes

    def _follow_globalaveragepool(self, node: Any) -> None:
        self._reduce(node, self._image_order(node, self._source(node)), keep=True)

    _follow_globalmaxpool = _follow_globalaveragepool

    def _follow_reducemean(self, node: Any) -> None:
        tensor, attributes = self._source(node), attributes_of(node)
        given, rank = self._option(node, 1), len(tensor.layout)
        reduced = {at % rank for at in (attributes.get("axes") if given is None else given.tolist()) or range(rank)}
        labels = [label for at in sorted(reduced) for label in tensor.layout[at]]
        if not set(labels) <= set(PLACES):
            raise _unfollowed(node, f"it runs over {' and '.join(labels)}, not over traces and samples alone")
        self._reduce(node, labels, keep=bool(attributes.get("keepdims", 1)), dropped=reduced)

    _follow_reducemax = _follow_reducesum = _follow_reducemean

    def _reduce(self, node: Any, labels: Sequence[str], keep: bool, dropped: Iterable[int] = ()) -> None:
        """The mean, sum or largest of all positions along the axes with those labels."""
        tensor, summed = self._source(node), node.op_type == "ReduceSum"
        axes = [
            _whole(axis, [1 if summed else len(axis)] * len(axis)) if label in labels else _itself(axis, tap=1)
            for axis, label in zip(tensor.axes, PLACES, strict=True)
        ]
        layout = tuple(labels for at, labels in enumerate(tensor.layout) if keep or at not in dropped)
        if node.op_type in ("GlobalMaxPool", "ReduceMax"):
            self._add(node, [tensor], axes, tensor.channels, layout, Reading.largest)
        else:
            self._average(node, axes, layout)

    def _average(self, node: Any, axes: Sequence[Axis], layout: Layout) -> None:
        """A convolution of each channel. The tap of every read says over how many positions the average goes."""
        tensor = self._source(node)
        reads = [sum(len(axis.functions[position.function]) for position in axis.positions) for axis in axes]
        self.multiply_adds += tensor.channels * math.prod(reads)

        def weigh(rows: Run, columns: Run) -> Weights:
            shape = tensor.channels, 1, len(rows.taps), len(columns.taps)
            return Weights(np.full(shape, 1 / (rows.taps[0] * columns.taps[0]), tensor.dtype))

        def write(reading: Reading) -> Map:
            return reading.convolved(weigh, Weights(np.zeros(tensor.channels, tensor.dtype)), tensor.channels)

        self._add(node, [tensor], axes, tensor.channels, layout, write)

    def _follow_pad(self, node: Any) -> None:
        tensor = self._source(node)
        pads, value, given = self._weight(node, 1), self._option(node, 2), self._option(node, 3)
        dimensions = range(len(tensor.layout)) if given is None else given.tolist()
        layout, along = list(tensor.layout), {}
        single = [label for label in PLACES if tensor.size(label) == 1]
        for at, before, after in zip(dimensions, *pads.reshape(2, -1).tolist(), strict=True):
            if before or after:
                layout[at] = layout[at] or tuple(single[:1])
                single = [label for label in single if label not in layout[at]]
                along[layout[at]] = before, after
        constant = attributes_of(node).get("mode", b"constant") == b"constant"
        if not constant or not set(along) <= {(TRACE,), (SAMPLE,)}:
            raise _unfollowed(node, "it does more than pad traces and samples with a constant")
        axes = [padded(axis, *along.get((label,), (0, 0))) for axis, label in zip(tensor.axes, PLACES, strict=True)]
        padding = np.full((1, tensor.channels, 1, 1), 0 if value is None else value.item(), tensor.dtype)

        def write(reading: Reading) -> Map:
            return reading.maps()[0] if all(reading.taps) else padding

        self._add(node, [tensor], axes, tensor.channels, tuple(layout), write)

    def _image_order(self, node: Any, tensor: Tensor) -> tuple[str, ...]:
        """What the last two dimensions of [batch, channel, ., .] are; either where both are of length 1."""
        for order in (PLACES, PLACES[::-1]):
            expected = _layout(BATCH, CHANNEL, *order)
            if len(tensor.layout) == 4 and replace(tensor, layout=expected).layout == tensor.layout:
                return order
        raise _unfollowed(node, f"it runs over {_described(tensor.layout)}")

    # Operators that read one position of every source.

    def _follow_elementwise(self, node: Any) -> None:
        """Sources that are tensors of the same axes, and constants: one for all, or one for each channel."""
        tensors = [self._tensors[name] for name in node.input if name in self._tensors]
        constants = {name: self._constants[name] for name in node.input if name in self._constants}
        rank = len(tensors[0].layout)
        dtype = self._dtype_after(node, tensors[0])
        if any(len(tensor.layout) != rank for tensor in tensors) or any(
            value.ndim > rank for value in constants.values()
        ):
            raise _unfollowed(node, "its inputs have different axes")
        shapes = [(1,) * (rank - value.ndim) + value.shape for value in constants.values()]
        layout: list[tuple[str, ...]] = []
        for at, *dimensions in zip(range(rank), *(tensor.layout for tensor in tensors), strict=True):
            found = dict.fromkeys(dimensions)
            if set(found) == {()} and any(shape[at] > 1 for shape in shapes):
                found = {(CHANNEL,): None}  # one channel becomes as many as there are constants
            elif set(found) == {(), (CHANNEL,)}:
                del found[()]
            if len(found) > 1:
                raise _unfollowed(node, "its inputs have different axes")
            layout.extend(found)
        if sum(labels.count(CHANNEL) for labels in layout) > 1:
            raise _unfollowed(node, "its inputs have different axes")
        values = {name: self._of_channels(node, value, layout) for name, value in constants.items()}
        channels = max(*(tensor.channels for tensor in tensors), *(value.size for value in values.values()), 1)
        self._pointwise(node, tensors, values, channels, tuple(layout), dtype)

    _follow_quantizelinear = _follow_dequantizelinear = _follow_elementwise

    def _dtype_after(self, node: Any, tensor: Tensor) -> np.dtype[Any]:
        """What the node's numbers are: those of its source, unless it is there to change them."""
        if node.op_type == "Cast":
            to = attributes_of(node)["to"]
            if to not in (TensorProto.FLOAT, TensorProto.FLOAT16):
                raise _unfollowed(node, "its numbers are neither in single precision nor in half")
            return np.dtype(np.float16 if to == TensorProto.FLOAT16 else np.float32)
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            if self._weight(node, 1).size > 1:
                raise _unfollowed(node, "it has more than one scale")
            whole = self._option(node, 2)
            integers = np.dtype(np.uint8) if whole is None else whole.dtype
            return integers if node.op_type == "QuantizeLinear" else self._weight(node, 1).dtype
        return tensor.dtype

    def _of_channels(self, node: Any, constant: Array, layout: Sequence[tuple[str, ...]]) -> Array:
        """The constant as one value, or as `[1, channel, 1, 1]`."""
        for at, labels in enumerate(layout[len(layout) - constant.ndim :]):
            if labels != (CHANNEL,):
                if np.any(constant != constant.take([0], at)):
                    raise _unfollowed(node, "its constant is another at every place of the patch")
                constant = constant.take([0], at)
        return constant.reshape(() if constant.size == 1 else (1, -1, 1, 1))

    def _follow_batchnormalization(self, node: Any) -> None:
        tensor, attributes = self._source(node), attributes_of(node)
        if attributes.get("training_mode") or tensor.layout[1] not in ((), (CHANNEL,)):
            raise _unfollowed(node, "it does not normalise channels by constants")
        scale, bias, mean, variance = (self._weight(node, at).astype(np.float64) for at in (1, 2, 3, 4))
        factor = scale / np.sqrt(variance + attributes.get("epsilon", 1e-5))
        name = node.input[0]
        for operator, values in (("Mul", factor), ("Add", bias - mean * factor)):
            output = node.output[0] if operator == "Add" else f"{node.output[0]}/scaled"
            constant = f"{output}/{operator}"
            self._constants[constant] = values.astype(tensor.dtype).reshape(-1, *[1] * (len(tensor.layout) - 2))
            self._follow_elementwise(helper.make_node(operator, [name, constant], [output], name=node.name))
            name = output

    def _follow_softmax(self, node: Any) -> None:
        tensor = self._source(node)
        if tensor.layout[attributes_of(node).get("axis", -1)] != (CHANNEL,):
            raise _unfollowed(node, "it does not run over channels")
        self._pointwise(node, [tensor], {}, tensor.channels, tensor.layout, axis=1)

    _follow_logsoftmax = _follow_softmax

    def _follow_concat(self, node: Any) -> None:
        tensors = [self._tensors[name] for name in node.input if name in self._tensors]
        if len(tensors) < len(node.input):
            raise _unfollowed(node, "some of its parts are constants")
        at = attributes_of(node)["axis"] % len(tensors[0].layout)
        layouts = {(*tensor.layout[:at], (CHANNEL,), *tensor.layout[at + 1 :]) for tensor in tensors}
        joined = {tensor.layout[at] for tensor in tensors}
        if len(layouts) > 1 or not joined <= {(), (CHANNEL,)} or sum(dims.count((CHANNEL,)) for dims in layouts) > 1:
            raise _unfollowed(node, "it does not join channels")
        self._pointwise(node, tensors, {}, sum(tensor.channels for tensor in tensors), layouts.pop(), axis=1)

    def _pointwise(
        self,
        node: Any,
        tensors: Sequence[Tensor],
        constants: Mapping[str, Array],
        channels: int,
        layout: Layout,
        dtype: np.dtype[Any] | None = None,
        **attributes: Any,
    ) -> None:
        """The node itself on maps: at every position it reads the same position of its sources."""
        axes = [
            axis_after(along, [[Read(at, 0, source) for source in range(len(along))] for at in range(len(along[0]))])
            for along in zip(*(tensor.axes for tensor in tensors), strict=True)
        ]

        def write(reading: Reading) -> Map:
            maps = iter(reading.maps())
            values = [constants[name] if name in constants else next(maps) if name else "" for name in node.input]
            return reading.writer.apply(node, values, attributes)

        self._add(node, tensors, axes, channels, layout, write, dtype)


def _check_contract(patch_model: Any, patch_size: int, opset: int) -> None:
    """Raise SliceError where patches are not as the card says, or where the operators are old."""
    patches = [value for value in patch_model.graph.input if value.name == "patches"]
    dimensions = [dimension for value in patches for dimension in value.type.tensor_type.shape.dim]
    sizes = [dimension.dim_value or dimension.dim_param or "any" for dimension in dimensions]
    if len(sizes) != 3 or any(isinstance(size, int) and size != patch_size for size in sizes[1:]):
        takes = f"`patches` [{_written(sizes)}]" if patches else "no `patches`"
        raise SliceError(
            f"By its card the patch model takes `patches` [batch, {patch_size}, {patch_size}], and it takes {takes}."
        )
    if opset < OLDEST_OPSET:
        raise SliceError(
            f"The patch model has the operators of ONNX opset {opset}: a slice model can be compiled from opset "
            f"{OLDEST_OPSET} on. Export it with a newer one."
        )


def _by_window(
    tensor: Tensor,
    order: Sequence[str],
    sizes: Sequence[int],
    attributes: Mapping[str, Any],
    counted: Sequence[int] | None = None,
) -> list[Axis]:
    """The axes after an operator that reads windows of these sizes, along the dimensions in that order.

    counted: where windows average, how many positions are averaged along either dimension; 0: those that are there.
    """
    strides, dilations = (attributes.get(name, [1, 1]) for name in ("strides", "dilations"))
    pads = attributes.get("pads", [0, 0, 0, 0])
    axes = {}
    for at, (label, size, stride, dilation) in enumerate(zip(order, sizes, strides, dilations, strict=True)):
        axis = tensor.axes[PLACES.index(label)]
        reach = dilation * (size - 1) + 1
        before, after = _padding(attributes.get("auto_pad", b"NOTSET"), len(axis), reach, stride, pads[at::2])
        begins = _begins(len(axis), reach, stride, before, after, bool(attributes.get("ceil_mode")))
        windows = [
            [Read(begin + tap * dilation, tap) for tap in range(size) if 0 <= begin + tap * dilation < len(axis)]
            for begin in begins
        ]
        if counted is not None:
            windows = [[Read(read.position, counted[at] or len(window)) for read in window] for window in windows]
        axes[label] = axis_after([axis], windows)
    return [axes[label] for label in PLACES]


def _begins(length: int, reach: int, stride: int, before: int, after: int, ceil: bool) -> range:
    """Where windows begin along an axis of `length` positions. None begins in the padding behind it."""
    room = before + length + after - reach
    if room < 0:
        return range(0)
    last = -(-room // stride) if ceil else room // stride
    if ceil and last * stride >= length + before:
        last -= 1
    return range(-before, last * stride - before + 1, stride)


def _padding(automatic: bytes, length: int, reach: int, stride: int, given: Sequence[int]) -> tuple[int, int]:
    """The padding before and after an axis."""
    if automatic in (b"SAME_UPPER", b"SAME_LOWER"):
        total = max(0, (math.ceil(length / stride) - 1) * stride + reach - length)
        less, more = total // 2, total - total // 2
        return (less, more) if automatic == b"SAME_UPPER" else (more, less)
    return (given[0], given[1]) if automatic == b"NOTSET" else (0, 0)


def _itself(axis: Axis, tap: int = 0) -> Axis:
    return axis_after([axis], [[Read(at, tap)] for at in range(len(axis))])


def _whole(axis: Axis, taps: Iterable[int]) -> Axis:
    """One position that reads all of them."""
    return axis_after([axis], [[Read(at, tap) for at, tap in enumerate(taps)]])


def _layout(*labels: str) -> Layout:
    return tuple((label,) for label in labels)


def _written(sizes: Iterable[object]) -> str:
    return ", ".join(map(str, sizes))


def _described(layout: Layout) -> str:
    return f"[{_written(' x '.join(labels) or 1 for labels in layout)}]"


def _unknown(node: Any) -> SliceError:
    return SliceError(
        f"The patch model cannot be compiled into a slice model: it has the operator {node.op_type} "
        f"({node.name or node.output[0]}), which is none of those that can be followed."
    )


def _unfollowed(node: Any, reason: str) -> SliceError:
    return SliceError(
        f"The patch model cannot be compiled into a slice model: its {node.op_type} ({node.name or node.output[0]}) "
        f"cannot be followed, since {reason}."
    )
