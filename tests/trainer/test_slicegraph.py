"""Slice models against the patch models that they come from: every sample, over random small networks and odd ones."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", exc_type=ImportError, reason="compiling slice models needs onnx")
pytest.importorskip("onnxruntime", exc_type=ImportError, reason="models are compared by onnxruntime")

import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from infer.amplitude import scale_amplitude
from infer.card import ModelCard, read_card
from infer.patches import cut_patches
from trainer.precision import in_precision
from trainer.slicegraph import SliceError, SliceGraph, check_worth, slice_graph

CLIP = 40.0
FACIES = 4
EXPORTED = Path(__file__).parents[2] / "exported"


class Network:
    """A patch model, written node by node."""

    def __init__(self, patch_size: int, seed: int = 0, opset: int = 18) -> None:
        self.rng = np.random.default_rng(seed)
        self.patch_size, self.opset = patch_size, opset
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.last = "patches"
        self.numbers = itertools.count()
        self.shapes: dict[str, tuple[int, ...]] = {}

    def weight(self, values: Any, dtype: Any = np.float32) -> str:
        self.weights.append(numpy_helper.from_array(np.array(values, dtype), f"weight_{len(self.weights)}"))
        return self.weights[-1].name

    def integers(self, *values: int) -> str:
        return self.weight(values, np.int64)

    def normal(self, *shape: int) -> str:
        """Random weights that keep the size of what they multiply."""
        return self.weight(self.rng.normal(0, 1 / np.sqrt(max(1, np.prod(shape[1:]))), shape))

    def add(self, operator: str, *others: str, to: str | None = None, output: str = "", **attributes: Any) -> str:
        """A node that takes the last tensor, or `to`, and `others`."""
        output = output or f"tensor_{next(self.numbers)}"
        inputs = [self.last if to is None else to, *others]
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        self.last = output
        return output

    def model(self, output: str = "probabilities") -> Any:
        patches = helper.make_tensor_value_info("patches", TensorProto.FLOAT, ["batch", *[self.patch_size] * 2])
        outputs = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", FACIES])]
        if output != "probabilities":
            outputs = [helper.make_empty_tensor_value_info(output)]
        graph = helper.make_graph(self.nodes, "network", [patches], outputs, self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_operatorsetid("", self.opset)], ir_version=8)

    def shape(self) -> tuple[int, ...]:
        """Of the last tensor for three patches, as onnxruntime has it."""
        if self.last not in self.shapes:
            patches = np.zeros((3, self.patch_size, self.patch_size), np.float32)
            self.shapes[self.last] = session(self.model(self.last), largest=0).run(None, {"patches": patches})[0].shape
        return self.shapes[self.last]

    def image(self) -> None:
        self.add("Unsqueeze", self.integers(1))

    def dense_head(self) -> None:
        self.add("Flatten")
        self.add("Gemm", self.normal(FACIES, self.shape()[1]), self.normal(FACIES), transB=1)
        self.add("Softmax", output="probabilities")

    def pooled_head(self) -> None:
        channels = self.shape()[1]
        self.add("GlobalAveragePool")
        self.add("Flatten")
        self.add("MatMul", self.weight(self.rng.normal(0, 2, (channels, FACIES))))
        self.add("Softmax", output="probabilities")


def session(model: Any, largest: int = 100) -> Any:
    """Larger graphs are run as they are: onnxruntime takes seconds to optimise a thousand nodes."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    if len(model.graph.node) > largest:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


def card(patch_size: int, facies: int = FACIES) -> ModelCard:
    names = tuple(f"facies {number}" for number in range(facies))
    return ModelCard("network", patch_size, names, ("#4477aa",) * facies, amplitude_clip=CLIP)


def odd_section(seed: int, traces: int, samples: int) -> np.ndarray:
    """Amplitudes of which some are clipped, some undefined and some no numbers."""
    rng = np.random.default_rng(seed)
    section = rng.normal(0, CLIP / 2, (traces, samples)).astype(np.float32)
    for amplitude in (np.nan, 1e30, np.inf, -3 * CLIP):
        section[rng.integers(traces), rng.integers(samples)] = amplitude
    return section


def by_patches(model: Any, section: np.ndarray, patch_size: int, clip: float = CLIP) -> np.ndarray:
    """Probabilities `[facies, trace, sample]`, patch by patch."""
    traces, samples = np.divmod(np.arange(section.size), section.shape[1])
    patches = cut_patches(scale_amplitude(section, clip), traces, samples, patch_size)
    # As it is: onnxruntime 1.31 makes other axes of a Pad's when it moves a Transpose past it.
    return session(model, largest=0).run(None, {"patches": patches})[0].T.reshape(-1, *section.shape)


def assert_same(model: Any, patch_size: int, *sections: np.ndarray) -> SliceGraph:
    """The slice model of the patch model, which gives the same at every sample of all sections."""
    graph = slice_graph(model, card(patch_size))
    onnx.checker.check_model(graph.model, full_check=True)
    slices = session(graph.model)
    for section in sections or (odd_section(1, 7, 9),):
        expected = by_patches(model, section, patch_size)
        assert np.ptp(expected, (1, 2)).max() > 1e-4 or section.size == 1  # a network that answers at all
        facies, probabilities = slices.run(["facies", "probabilities"], {"section": section})
        assert (facies.dtype, facies.shape) == (np.int8, section.shape)
        np.testing.assert_allclose(probabilities, expected, rtol=0, atol=1e-5)
        second, first = np.sort(expected, axis=0)[-2:]
        sure = first - second > 1e-4
        np.testing.assert_array_equal(facies[sure], expected.argmax(axis=0)[sure])
    return graph


class RandomNetwork(Network):
    """A network of layers drawn by its generator."""

    def __init__(self, seed: int) -> None:
        super().__init__(patch_size=5 + seed % 13, seed=seed)
        self.channels_last = seed % 3 == 2
        if seed % 4 == 1:
            self.add("Transpose", perm=[0, 2, 1])
        if self.channels_last:
            self.add("Reshape", self.integers(-1, self.patch_size, self.patch_size, 1))
        elif seed % 2:
            self.image()
        else:
            self.add("Reshape", self.integers(0, 1, self.patch_size, -1))
        for _ in range(1 + self.rng.integers(4)):
            while not self._layer():
                pass
        self._head()

    def _layer(self) -> bool:
        """A layer, if one can be had: windows may be larger than what is left of the patch."""
        before = self.last, len(self.nodes)
        layers = (self._conv, self._conv, self._conv, self._pool, self._pool, self._pad)
        layers = (*layers, self._normalisation, self._residual, self._branches)
        try:
            layers[self.rng.integers(len(layers))]()
            if self.rng.random() < 0.6:
                self._activation()
            if min(self.shape()) > 0:
                return True
        except Exception:  # onnxruntime has many
            pass
        self.last = before[0]
        del self.nodes[before[1] :]
        return False

    @property
    def channels(self) -> int:
        return self.shape()[3 if self.channels_last else 1]

    def _imagewise(self, operator: str, *others: str, **attributes: Any) -> None:
        """An operator on [batch, channel, ., .], as tf2onnx leaves it in the midst of channels-last layers."""
        if self.channels_last:
            self.add("Transpose", perm=[0, 3, 1, 2])
        self.add(operator, *others, **attributes)
        if self.channels_last:
            self.add("Transpose", perm=[0, 2, 3, 1])

    def _windows(self, largest: int) -> dict[str, Any]:
        rng = self.rng
        attributes = {
            "kernel_shape": rng.integers(1, largest + 1, 2).tolist(),
            "strides": rng.integers(1, 4, 2).tolist(),
        }
        if rng.random() < 0.5:
            attributes["strides"] = [1, 1]
        padding = rng.integers(6)
        if padding == 0:
            attributes["auto_pad"] = ("SAME_UPPER", "SAME_LOWER", "VALID")[rng.integers(3)]
        elif padding <= 2:
            attributes["pads"] = [(size - 1) // 2 for size in attributes["kernel_shape"]] * 2
        elif padding <= 4:
            attributes["pads"] = [int(rng.integers(size)) for size in attributes["kernel_shape"]]
            attributes["pads"] += [int(rng.integers(size)) for size in attributes["kernel_shape"]]
        return attributes

    def _conv(self) -> None:
        channels, attributes = self.channels, self._windows(5)
        groups = [group for group in (1, 1, 2, 3, channels) if channels % group == 0]
        group = groups[self.rng.integers(len(groups))]
        out = group * int(self.rng.integers(1, 4))
        if attributes.get("auto_pad", "VALID") == "VALID" and self.rng.random() < 0.3:
            attributes["dilations"] = self.rng.integers(1, 4, 2).tolist()
        kernel = self.normal(out, channels // group, *attributes["kernel_shape"])
        bias = [self.normal(out)] if self.rng.random() < 0.7 else []
        self._imagewise("Conv", kernel, *bias, group=group, **attributes)

    def _pool(self) -> None:
        attributes = self._windows(3)
        if self.rng.random() < 0.3:
            attributes["ceil_mode"] = 1
        if self.rng.random() < 0.5:
            self._imagewise("MaxPool", **attributes)
        else:
            counted = int(self.rng.random() < 0.5 and "ceil_mode" not in attributes)
            self._imagewise("AveragePool", count_include_pad=counted, **attributes)
        if "ceil_mode" in attributes:  # where the last window begins in padding, onnx has one more than onnxruntime
            inferred = onnx.shape_inference.infer_shapes(self.model(self.last)).graph.output[0].type.tensor_type.shape
            assert self.shape()[1:] == tuple(dimension.dim_value for dimension in inferred.dim)[1:]

    def _pad(self) -> None:
        amounts = self.rng.integers(-1, 3, 4).tolist()
        value = self.weight(self.rng.normal())
        if self.rng.random() < 0.5:
            axes = [1, 2] if self.channels_last else [2, 3]
            self.add("Pad", self.integers(*amounts), value, self.integers(*axes))
        elif self.channels_last:
            self.add("Pad", self.integers(0, *amounts[:2], 0, 0, *amounts[2:], 0), value)
        else:
            self.add("Pad", self.integers(0, 0, *amounts[:2], 0, 0, *amounts[2:]), value)

    def _normalisation(self) -> None:
        shape = [self.channels]
        statistics = [self.weight(self.rng.uniform(0.5, 1.5, shape)) for _ in range(4)]
        self._imagewise("BatchNormalization", *statistics, epsilon=1e-3)

    def _residual(self) -> None:
        shortcut, channels = self.last, self.channels
        self._imagewise("Conv", self.normal(channels, channels, 3, 3), pads=[1, 1, 1, 1])
        if self.rng.random() < 0.5:
            self.add("Relu")
        self.add(("Add", "Mul", "Max", "Sub")[self.rng.integers(4)], shortcut)

    def _branches(self) -> None:
        source, channels, axis = self.last, self.channels, 3 if self.channels_last else 1
        pads = [1, 1, 1, 1]
        self._imagewise("Conv", self.normal(2, channels, 3, 3), self.normal(2), pads=pads)
        branch, self.last = self.last, source
        self._imagewise("MaxPool", kernel_shape=[3, 3], pads=pads)
        self.add("Concat", branch, source, axis=axis)

    def _activation(self) -> None:
        rng, shape = self.rng, ([] if self.channels_last else [1, 1])
        per_channel = self.weight(rng.normal(0, 1, [self.channels, *shape]))
        one = self.weight(0.7)
        choices: tuple[Callable[[], Any], ...] = (
            lambda: self.add("Relu"),
            lambda: self.add("LeakyRelu", alpha=0.2),
            lambda: self.add("Clip", self.weight(-0.5), one),
            lambda: self.add("Clip", "", one),
            lambda: self.add("Sigmoid"),
            lambda: self.add("Mul", per_channel),
            lambda: self.add("Sub", self.last, to=per_channel),
            lambda: self.add("PRelu", per_channel),
        )
        choices[rng.integers(len(choices))]()

    def _head(self) -> None:
        rng, axes = self.rng, (1, 2) if self.channels_last else (2, 3)
        which = rng.integers(8)
        if which == 0:
            self._imagewise("GlobalAveragePool")
        elif which == 1:
            self._imagewise("GlobalMaxPool")
            self.add("Squeeze", self.integers(*axes))
        elif which == 2:
            self.add("ReduceMean", self.integers(*axes), keepdims=int(rng.integers(2)))
        elif which == 3:
            self.add("ReduceMax", self.integers(axes[0]), keepdims=1)
            self.add("ReduceMean", self.integers(-1 - (not self.channels_last) + 1 if not self.channels_last else 2))
        if rng.random() < 0.5:
            self.add("Flatten")
        else:
            self.add("Reshape", self.integers(-1, int(np.prod(self.shape()[1:]))))
        if rng.random() < 0.5:
            self._dense(3)
            statistics = [self.weight(rng.uniform(0.5, 1.5, [3])) for _ in range(4)]
            self.add("BatchNormalization", *statistics)
            self.add("Relu")
        self._dense(FACIES)
        self.add("Softmax", axis=int(rng.choice([-1, 1])), output="probabilities")

    def _dense(self, out: int) -> None:
        incoming = self.shape()[1]
        weights = self.rng.normal(0, 2 / np.sqrt(incoming), (incoming, out))
        if self.rng.random() < 0.3:
            self.add("Gemm", self.weight(weights), self.normal(out), alpha=0.8, beta=0.5)
        elif self.rng.random() < 0.5:
            self.add("Gemm", self.weight(weights.T), transB=1)
        else:
            self.add("MatMul", self.weight(weights))
            self.add("Add", self.normal(out))


@pytest.mark.parametrize("seed", range(40))
def test_random_networks(seed: int) -> None:
    section = odd_section(seed, 7, 8)
    for attempt in itertools.count():
        network = RandomNetwork(seed + 1000 * attempt)
        varies = np.ptp(by_patches(network.model(), section, network.patch_size), (1, 2)).max() > 1e-3
        if varies and len(slice_graph(network.model(), card(network.patch_size)).model.graph.node) < 500:
            break  # many a random network answers the same to everything, or takes long to load
    assert_same(network.model(), network.patch_size, section)


def small(patch_size: int = 9, stride: int = 2, opset: int = 18) -> Network:
    """A convolution with 'same' padding; [batch, 3, ., .] is left of the patch."""
    network = Network(patch_size, seed=7, opset=opset)
    network.image()
    network.add("Conv", network.normal(3, 1, 3, 3), network.normal(3), strides=[stride] * 2, pads=[1, 1, 1, 1])
    network.add("Relu")
    return network


@pytest.mark.parametrize("patch_size", [8, 9])
@pytest.mark.parametrize("shape", [(1, 1), (1, 12), (13, 1), (3, 2), (20, 4)])
def test_sections_smaller_than_a_patch(patch_size: int, shape: tuple[int, int]) -> None:
    network = small(patch_size)
    network.dense_head()
    section = np.random.default_rng(2).normal(0, CLIP, shape).astype(np.float32)
    assert_same(network.model(), patch_size, section)


@pytest.mark.parametrize("opset", [13, 15, 18, 21])
def test_opsets(opset: int) -> None:
    network = small(opset=opset)
    network.add("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    network.pooled_head()
    graph = assert_same(network.model(), 9)
    assert [(entry.domain, entry.version) for entry in graph.model.opset_import] == [("", opset)]


def test_a_part_of_a_section_with_its_surroundings_is_that_part_of_the_whole() -> None:
    network = small(8)
    network.dense_head()
    section, slices = odd_section(4, 20, 30), session(slice_graph(network.model(), card(8)).model)
    whole = slices.run(["probabilities"], {"section": section})[0]
    for first_trace, last_trace, first_sample, last_sample in ((0, 7, 0, 11), (7, 15, 11, 13), (15, 20, 13, 30)):
        # A patch of 8 reaches 4 before its centre and 3 behind it.
        traces, samples = (first_trace - 4, last_trace + 3), (first_sample - 4, last_sample + 3)
        part = section[max(0, traces[0]) : traces[1], max(0, samples[0]) : samples[1]]
        outside = [-min(0, traces[0]), -min(0, samples[0]), max(0, traces[1] - 20), max(0, samples[1] - 30)]
        tile = slices.run(["probabilities"], {"section": part, "padding": np.array(outside, np.int64)})[0]
        expected = whole[:, first_trace:last_trace, first_sample:last_sample]
        assert tile.shape == expected.shape
        np.testing.assert_allclose(tile, expected, rtol=0, atol=1e-6)


def deep(pads: int, patch_size: int = 14) -> Network:
    network = Network(patch_size, seed=3)
    network.image()
    for channels, before in ((8, 1), (12, 8)):
        shape = channels, before, 3, 3
        network.add("Conv", network.normal(*shape), network.normal(channels), pads=[pads] * 4, name=f"conv_{channels}")
        network.add("Relu", name=f"relu_{channels}")
        network.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2], name=f"pool_{channels}")
    network.dense_head()
    return network


@pytest.mark.parametrize("pads", [0, 1])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp16", 3e-3), ("int8", 3e-2)])
def test_reduced_precision(precision: str, tolerance: float, pads: int) -> None:
    """As the patch model in the same precision, but for roundings that fall the other way here and there."""
    network, section = deep(pads), odd_section(1, 9, 12)
    traces, samples = np.divmod(np.arange(section.size), section.shape[1])
    patches = cut_patches(scale_amplitude(section, CLIP), traces, samples, network.patch_size)
    reduced = in_precision(network.model(), precision, patches)
    graph = slice_graph(reduced, card(network.patch_size))
    onnx.checker.check_model(graph.model, full_check=True)
    probabilities = session(graph.model).run(["probabilities"], {"section": section})[0]
    expected = by_patches(reduced, section, network.patch_size)
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=tolerance)
    if precision == "int8":
        assert np.count_nonzero(np.abs(probabilities - expected).max(0) > 1e-5) < section.size / 10
    of_single = by_patches(network.model(), section, network.patch_size)
    assert np.abs(expected - of_single).max() > 10 * np.abs(expected - probabilities).mean()  # the precision is another


def test_in_int8_onnxruntime_multiplies_integers(tmp_path: Path) -> None:
    network = deep(pads=0)
    patches = np.random.default_rng(0).normal(0, 1, (50, 14, 14)).astype(np.float32)
    graph = slice_graph(in_precision(network.model(), "int8", patches), card(network.patch_size))
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(tmp_path / "optimised.onnx"), 4
    onnxruntime.InferenceSession(graph.model.SerializeToString(), options, ["CPUExecutionProvider"])
    operators = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert operators.count("QLinearConv") == 2
    kernels = [value.dims for value in graph.model.graph.initializer if value.data_type == TensorProto.INT8]
    assert [list(dims) for dims in kernels if len(dims) == 4] == [[8, 1, 3, 3], [12, 8, 3, 3]]


def test_another_amplitude_clip() -> None:
    network = small()
    network.dense_head()
    section, slices = odd_section(5, 6, 7), session(slice_graph(network.model(), card(9)).model)
    for clip in (10.0, 300.0):
        given = {"section": section, "amplitude_clip": np.array(clip, np.float32)}
        probabilities = slices.run(["probabilities"], given)[0]
        np.testing.assert_allclose(probabilities, by_patches(network.model(), section, 9, clip), rtol=0, atol=1e-5)


def test_a_slice_model_takes_a_section_and_gives_facies_and_probabilities() -> None:
    network = small()
    network.dense_head()
    model = slice_graph(network.model(), card(9)).model

    def described(values: Any) -> list[tuple[str, int, list[Any]]]:
        types = [(value.name, value.type.tensor_type) for value in values]
        return [(name, t.elem_type, [dim.dim_param or dim.dim_value for dim in t.shape.dim]) for name, t in types]

    assert described(model.graph.input) == [
        ("section", TensorProto.FLOAT, ["trace", "sample"]),
        ("amplitude_clip", TensorProto.FLOAT, []),
        ("padding", TensorProto.INT64, [4]),
    ]
    assert described(model.graph.output) == [
        ("facies", TensorProto.INT8, ["trace", "sample"]),
        ("probabilities", TensorProto.FLOAT, [FACIES, "trace", "sample"]),
    ]
    defaults = {value.name: numpy_helper.to_array(value).tolist() for value in model.graph.initializer}
    assert (defaults["amplitude_clip"], defaults["padding"]) == (CLIP, [4, 4, 4, 4])


# Networks with one oddity each, which random ones seldom have.


def padding_upon_padding(n: Network) -> None:
    """Two constants meet in the corners, and normalisation and Softmax go over them."""
    for value in (0.7, -0.4):
        n.add("Pad", n.integers(0, 0, 2, 1, 0, 0, 1, 2), n.weight(value))
        n.add("Conv", n.normal(3, n.shape()[1], 3, 2), n.normal(3), strides=[1, 2])
        n.add("BatchNormalization", *(n.weight(n.rng.uniform(0.5, 1.5, 3)) for _ in range(4)))
        n.add("Softmax", axis=1)


def padding_joined_with_a_map(n: Network) -> None:
    source = n.last
    padded = n.add("Pad", n.integers(2, 2, 2, 2), n.weight(0.5), n.integers(2, 3))
    n.add("Conv", n.normal(2, 3, 3, 3), to=source, pads=[3, 3, 3, 3])
    n.add("Concat", padded, axis=-3)
    n.add("Conv", n.normal(3, 5, 2, 2), strides=[2, 2])


def rows_and_columns_padded_apart(n: Network) -> None:
    """Where either is padding, their sum is a constant in rows and columns that are none."""
    source = n.last
    rows = n.add("Pad", n.integers(0, 0, 1, 0, 0, 0, 1, 0), n.weight(0.5))
    n.add("Pad", n.integers(0, 0, 0, 1, 0, 0, 0, 1), n.weight(-0.5), to=source)
    rows = n.add("Conv", n.normal(3, 3, 1, 3), to=rows, pads=[0, 2, 0, 0])
    n.add("Conv", n.normal(3, 3, 3, 1), to=n.nodes[-2].output[0], pads=[1, 0, 1, 0])
    n.add("Conv", n.normal(3, 3, 1, 3), to=rows, pads=[0, 1, 0, 1])


def windows_larger_than_what_is_left(n: Network) -> None:
    """Neighbouring windows see the same."""
    n.add("Conv", n.normal(3, 3, 3, 3), strides=[2, 2])
    assert n.shape()[2:] == (2, 2)
    n.add("MaxPool", kernel_shape=[4, 4], pads=[2, 2, 2, 2])
    n.add("AveragePool", kernel_shape=[3, 3], pads=[2, 2, 2, 2])
    n.add("Conv", n.normal(3, 3, 3, 3), pads=[1, 1, 1, 1])


def average_that_counts_padding(n: Network) -> None:
    n.add("AveragePool", kernel_shape=[3, 2], pads=[2, 1, 1, 0], strides=[2, 1], count_include_pad=1)


def windows_rounded_up(n: Network) -> None:
    n.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
    n.add("AveragePool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)


def shape_chain(n: Network) -> None:
    """As exporters write a reshape: the batch from the patches' shape, the rest from elsewhere."""
    image = n.last
    batch = n.add("Gather", n.integers(0), to=n.add("Shape", to=image), axis=0)
    places = n.add("Slice", n.integers(1), n.integers(4), to=n.add("Shape", to=image))
    vector = n.add("ReduceProd", to=places, keepdims=1)
    vectors = n.add("Reshape", n.add("Concat", vector, to=batch, axis=0), to=image)
    n.add("Reshape", n.add("Shape", to=image), to=vectors)


def attention_of_channels(n: Network) -> None:
    """One channel against many, and constants that make many of one."""
    source = n.last
    n.add("Conv", n.normal(1, 3, 1, 1))
    n.add("Mul", n.weight(n.rng.normal(0, 1, (1, 3, 1, 1))))
    n.add("Mul", n.add("Sigmoid", to=n.add("Conv", n.normal(1, 3, 3, 3), to=source, pads=[1, 1, 1, 1])), to=source)
    n.add("Max", n.nodes[-4].output[0])


def constants_of_any_rank(n: Network) -> None:
    n.add("Mul", n.weight(np.full((1, 1, 5, 5), 1.5)))
    n.add("Add", n.weight(0.25))
    n.add("Pow", n.integers(2))
    n.add("Add", n.weight(np.arange(3).reshape(1, 3, 1, 1)))


def means_axis_by_axis(n: Network) -> None:
    """And of both at once, joined as one dimension."""
    n.add("Pad", n.integers(1, 0), n.weight(1.0), n.integers(-1))
    n.add("ReduceSum", n.integers(2), keepdims=1)
    n.add("Conv", n.normal(3, 3, 1, 2))
    n.add("Reshape", n.integers(0, 0, -1))
    n.add("ReduceMean", n.integers(-1), keepdims=1)
    n.add("Unsqueeze", n.integers(-1))


def padding_of_a_single_place(n: Network) -> None:
    """What is of length 1 grows again."""
    n.add("Conv", n.normal(4, 3, 5, 4))
    n.add("Conv", n.normal(3, 4, 2, 2), pads=[1, 0, 1, 0])
    n.add("Conv", n.normal(3, 3, 1, 3), pads=[0, 3, 0, 1])
    n.add("GlobalMaxPool")
    n.add("Pad", n.integers(0, 1, 2, 1), n.weight(0.3), n.integers(3, 2))
    n.add("AveragePool", kernel_shape=[2, 2])


def dense_layers_of_channels(n: Network) -> None:
    """On every place, as channels-last exporters write a 1 x 1 convolution; transposed to [sample, trace]."""
    n.add("Transpose", perm=[0, 3, 2, 1])
    n.add("MatMul", n.normal(3, 6))
    n.add("Add", n.normal(6))
    n.add("Elu")
    n.add("Transpose", perm=[0, 3, 1, 2])
    n.add("Conv", n.normal(3, 6, 2, 3), strides=[1, 2])


def dropout_and_identity(n: Network) -> None:
    n.add("Dropout")
    n.add("Identity")
    n.nodes.append(helper.make_node("Cast", [n.last], ["single"], to=TensorProto.FLOAT))
    n.last = "single"


def constant_nodes(n: Network) -> None:
    """Constants that are worked out in the graph."""
    kernel = n.add("Mul", n.weight(0.5), to=n.normal(3, 3, 2, 2))
    image = next(node for node in n.nodes if node.op_type == "Relu").output[0]
    n.add("Conv", kernel, to=image)


ODD = (
    padding_upon_padding,
    padding_joined_with_a_map,
    rows_and_columns_padded_apart,
    windows_larger_than_what_is_left,
    average_that_counts_padding,
    windows_rounded_up,
    shape_chain,
    attention_of_channels,
    constants_of_any_rank,
    means_axis_by_axis,
    padding_of_a_single_place,
    dense_layers_of_channels,
    dropout_and_identity,
    constant_nodes,
)


@pytest.mark.parametrize("add_to", ODD, ids=lambda add_to: add_to.__name__)
@pytest.mark.parametrize("head", [Network.dense_head, Network.pooled_head], ids=["dense", "pooled"])
def test_odd_networks(add_to: Callable[[Network], None], head: Callable[[Network], None]) -> None:
    network = small()
    add_to(network)
    head(network)
    assert_same(network.model(), 9)


@pytest.mark.parametrize("operator", ["MaxPool", "AveragePool"])
def test_no_window_begins_in_the_padding_behind_a_patch(operator: str) -> None:
    """However `ceil_mode` rounds: of 5 positions and padding on either side the third window would begin at the end."""
    network = small()
    network.add(operator, kernel_shape=[2, 2], strides=[3, 3], pads=[1, 1, 1, 1], ceil_mode=1)
    assert network.shape()[2:] == (2, 2)
    network.pooled_head()
    assert_same(network.model(), 9)


def refusal(network: Network) -> str:
    with pytest.raises(SliceError) as caught:
        slice_graph(network.model(), card(network.patch_size))
    return str(caught.value)


CANNOT = "The patch model cannot be compiled into a slice model: its "


def unknown_operator(n: Network) -> str:
    n.add("InstanceNormalization", n.normal(3), n.normal(3), output="normalised")
    return (
        "The patch model cannot be compiled into a slice model: it has the operator InstanceNormalization "
        "(normalised), which is none of those that can be followed."
    )


def weights_of_patches(n: Network) -> str:
    image = n.last
    kernel = n.add("GlobalMaxPool")
    n.add("Conv", kernel, to=image, name="conv")
    return f"{CANNOT}Conv (conv) cannot be followed, since its input {kernel} is no constant."


def patches_as_weights(n: Network) -> str:
    vectors = n.add("Flatten")
    n.add("Gemm", vectors, to=n.normal(FACIES, 3), name="gemm")
    return f"{CANNOT}Gemm (gemm) cannot be followed, since its input {vectors} is no constant."


def second_output(n: Network) -> str:
    n.nodes.append(helper.make_node("MaxPool", [n.last], ["largest", "where"], kernel_shape=[2, 2]))
    n.add("Neg", to="where", name="neg")
    return f"{CANNOT}Neg (neg) cannot be followed, since its input where is none that can be followed."


def everything_reduced(n: Network) -> str:
    n.add("ReduceMean", n.integers(), name="mean")
    return (
        f"{CANNOT}ReduceMean (mean) cannot be followed, since it runs over batch and channel and trace and sample, not "
        "over traces and samples alone."
    )


def reflected_padding(n: Network) -> str:
    n.add("Pad", n.integers(1, 1), "", n.integers(2), mode="reflect", name="pad")
    return f"{CANNOT}Pad (pad) cannot be followed, since it does more than pad traces and samples with a constant."


def padded_channels(n: Network) -> str:
    n.add("Pad", n.integers(0, 1, 0, 0, 0, 1, 0, 0), name="pad")
    return f"{CANNOT}Pad (pad) cannot be followed, since it does more than pad traces and samples with a constant."


def constant_of_places(n: Network) -> str:
    n.add("Add", n.weight(np.arange(5)), name="add")
    return f"{CANNOT}Add (add) cannot be followed, since its constant is another at every place of the patch."


def places_of_one(n: Network) -> str:
    image = n.last
    n.add("Mul", n.add("GlobalAveragePool"), to=image, name="mul")
    return f"{CANNOT}Mul (mul) cannot be followed, since its inputs have different axes."


def a_batch_of_places(n: Network) -> str:
    n.add("Transpose", perm=[0, 2, 3, 1])
    n.add("Reshape", n.integers(-1, 3), name="reshape")
    return (
        f"{CANNOT}Reshape (reshape) cannot be followed, since it makes [3] of the dimensions "
        "[batch, trace, sample, channel]."
    )


def transposed_batch(n: Network) -> str:
    n.add("Transpose", name="transpose")
    return f"{CANNOT}Transpose (transpose) cannot be followed, since it moves the batch from the first place."


def mean_of_channels(n: Network) -> str:
    n.add("ReduceMean", n.integers(1, 3), name="mean")
    return (
        f"{CANNOT}ReduceMean (mean) cannot be followed, since it runs over channel and sample, not over traces and "
        "samples alone."
    )


def softmax_of_places(n: Network) -> str:
    n.add("Softmax", name="softmax")
    return f"{CANNOT}Softmax (softmax) cannot be followed, since it does not run over channels."


def convolution_of_channels(n: Network) -> str:
    n.add("Transpose", perm=[0, 2, 1, 3])
    n.add("Conv", n.normal(2, 5, 3, 3), name="conv")
    return f"{CANNOT}Conv (conv) cannot be followed, since it runs over [batch, trace, channel, sample]."


def dense_along_samples(n: Network) -> str:
    n.add("MatMul", n.normal(5, 5), name="matmul")
    return f"{CANNOT}MatMul (matmul) cannot be followed, since it multiplies [batch, channel, trace, sample]."


def nothing_but_padding(n: Network) -> str:
    n.add("MaxPool", kernel_shape=[2, 2], dilations=[8, 8], pads=[2, 2, 3, 3], name="pool")
    return f"{CANNOT}MaxPool (pool) cannot be followed, since one of its windows holds nothing but padding."


def nothing_left(n: Network) -> str:
    n.add("MaxPool", kernel_shape=[6, 1], strides=[6, 1], name="pool")
    return f"{CANNOT}MaxPool (pool) cannot be followed, since it leaves nothing of the patch."


def counts_what_is_beyond(n: Network) -> str:
    n.add("AveragePool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1, count_include_pad=1, name="pool")
    return (
        f"{CANNOT}AveragePool (pool) cannot be followed, since its windows reach beyond the padding (ceil_mode) that "
        "they count."
    )


def whole_numbers(n: Network) -> str:
    n.nodes.append(helper.make_node("Cast", [n.last], ["whole"], to=TensorProto.INT32, name="cast"))
    return f"{CANNOT}Cast (cast) cannot be followed, since its numbers are neither in single precision nor in half."


def scales_of_channels(n: Network) -> str:
    n.add("QuantizeLinear", n.weight([0.1, 0.2]), n.weight([0, 0], np.uint8), axis=1, name="quantise")
    return f"{CANNOT}QuantizeLinear (quantise) cannot be followed, since it has more than one scale."


def joined_samples(n: Network) -> str:
    n.add("Concat", n.last, axis=3, name="concat")
    return f"{CANNOT}Concat (concat) cannot be followed, since it does not join channels."


def joined_constant(n: Network) -> str:
    n.add("Concat", n.normal(1, 1, 5, 5), axis=1, name="concat")
    return f"{CANNOT}Concat (concat) cannot be followed, since some of its parts are constants."


def the_same_whatever_the_patch(n: Network) -> str:
    n.add("Pad", n.integers(5, -5), n.weight(0.3), n.integers(2))
    n.dense_head()
    return "The patch model gives the same probabilities whatever the patch."


def no_probabilities(n: Network) -> str:
    n.add("Flatten")
    return (
        f"The patch model gives no `probabilities` [batch, {FACIES}] that depend on the patches: what its card says of "
        "its facies, or the model itself, is not by the contract."
    )


def old_operators(n: Network) -> str:
    n.opset = 11
    return (
        "The patch model has the operators of ONNX opset 11: a slice model can be compiled from opset 13 on. Export it "
        "with a newer one."
    )


REFUSED = (
    unknown_operator,
    weights_of_patches,
    patches_as_weights,
    second_output,
    everything_reduced,
    reflected_padding,
    padded_channels,
    constant_of_places,
    places_of_one,
    a_batch_of_places,
    transposed_batch,
    mean_of_channels,
    softmax_of_places,
    convolution_of_channels,
    dense_along_samples,
    nothing_but_padding,
    nothing_left,
    counts_what_is_beyond,
    whole_numbers,
    scales_of_channels,
    joined_samples,
    joined_constant,
    the_same_whatever_the_patch,
    no_probabilities,
    old_operators,
)


@pytest.mark.parametrize("add_to", REFUSED, ids=lambda add_to: add_to.__name__)
def test_what_cannot_be_followed_is_named(add_to: Callable[[Network], str]) -> None:
    network = small()
    expected = add_to(network)
    assert refusal(network) == expected


def test_an_operator_of_constants_that_onnx_cannot_evaluate_is_named() -> None:
    network = small()
    kernel = network.add("Ours", to=network.normal(3, 3, 1, 1), domain="com.example", output="kernel")
    network.add("Conv", kernel, to=network.nodes[-2].output[0])
    assert refusal(network) == (
        "The patch model cannot be compiled into a slice model: it has the operator Ours (kernel), which is none of "
        "those that can be followed."
    )
    network.add("Hardmax", output="later")  # what comes from the patches is named first
    assert "it has the operator Hardmax (later)" in refusal(network)


def test_operators_of_other_domains_are_not_taken_for_ours() -> None:
    network = small()
    network.add("Conv", network.normal(3, 3, 1, 1), domain="com.example", output="theirs")
    assert refusal(network) == (
        "The patch model cannot be compiled into a slice model: it has the operator Conv (theirs), which is none of "
        "those that can be followed."
    )


def test_patches_are_those_of_the_card() -> None:
    network = small()
    network.dense_head()
    with pytest.raises(SliceError) as caught:
        slice_graph(network.model(), card(8))
    assert str(caught.value) == (
        "By its card the patch model takes `patches` [batch, 8, 8], and it takes `patches` [batch, 9, 9]."
    )
    with pytest.raises(SliceError, match=re.escape("The patch model gives no `probabilities` [batch, 5] that")):
        slice_graph(network.model(), card(9, facies=5))


def test_what_would_not_pay_is_refused() -> None:
    """Convolutions of 5 on a patch of 4: every position meets the patch's own padding, and is another function."""
    network = Network(4)
    network.image()
    for channels in (1, 2):
        network.add("Conv", network.normal(2, channels, 5, 5), pads=[2, 2, 2, 2])
    network.dense_head()
    graph = assert_same(network.model(), 4)
    # Each of the first layer's 4 x 4 maps reads 3, 4, 4 and 3 rows of the patch and as many columns, and each of the
    # second's so many of those maps, two channels for two; the dense layer reads 16 places.
    reads = (3 + 4 + 4 + 3) ** 2
    assert graph.slice_multiply_adds == 2 * reads + 4 * reads + 16 * 2 * FACIES
    assert graph.patch_multiply_adds == 16 * 25 * 2 + 16 * 25 * 4 + 16 * 2 * FACIES
    with pytest.raises(SliceError) as caught:
        check_worth(graph, "network")
    assert str(caught.value) == (
        "A slice model of network would not pay. "
        f"A sample takes {graph.slice_multiply_adds:,} multiply-adds in place of {graph.patch_multiply_adds:,}: "
        f"{graph.saving:.1f} times fewer."
    )


def test_multiply_adds_of_a_network_counted_by_hand() -> None:
    """Patches of 8, convolution of 3 at stride 2, padded by 1 before: four places of two kinds along either axis."""
    network = Network(8)
    network.image()
    network.add("Conv", network.normal(5, 1, 3, 3), strides=[2, 2], pads=[1, 1, 0, 0])
    network.add("Relu")
    network.dense_head()
    graph = assert_same(network.model(), 8)
    # The first place lacks a row of the kernel, so there are maps of 2 x 2, 2 x 3, 3 x 2 and 3 x 3 taps.
    assert graph.slice_multiply_adds == 5 * (4 + 6 + 6 + 9) + 16 * 5 * FACIES
    assert graph.patch_multiply_adds == 16 * 5 * 9 + 16 * 5 * FACIES
    assert (graph.slice_multiply_adds, graph.patch_multiply_adds) == (445, 1040)
    assert graph.report() == "A sample takes 445 multiply-adds in place of 1,040: 2.3 times fewer."


def test_averages_count_on_both_sides() -> None:
    network = Network(8)
    network.image()
    network.add("Conv", network.normal(5, 1, 1, 1))
    network.add("Relu")
    network.pooled_head()
    graph = assert_same(network.model(), 8)
    assert graph.patch_multiply_adds == 64 * 5 + 64 * 5 + 5 * FACIES
    assert graph.slice_multiply_adds == 5 + 64 * 5 + 5 * FACIES


def test_the_waldeland_network() -> None:
    path = EXPORTED / "waldeland.onnx"
    graph = slice_graph(onnx.load(path), read_card(path))
    assert graph.report() == "A sample takes 204,640 multiply-adds in place of 2,235,590: 10.9 times fewer."
    check_worth(graph, "waldeland")
    model = read_card(path)
    section = odd_section(6, 5, 6)
    probabilities = session(graph.model).run(
        ["probabilities"], {"section": section, "amplitude_clip": np.array(CLIP, np.float32)}
    )[0]
    np.testing.assert_allclose(probabilities, by_patches(onnx.load(path), section, model.patch_size), rtol=0, atol=1e-5)


@pytest.mark.parametrize("channels", [3, 70])  # small constants are told by their content, large ones by identity
def test_a_kernel_is_stored_once(channels: int) -> None:
    """However many maps it makes: three functions along either axis, with padding before, behind and nowhere."""
    network = small(17)
    network.add("Conv", network.normal(channels, 3, 1, 1), strides=[2, 2])
    network.add("Conv", network.normal(channels, channels, 1, 1))
    network.dense_head()
    graph = assert_same(network.model(), 17)
    kernels = [value for value in graph.model.graph.initializer if list(value.dims) == [channels, channels, 1, 1]]
    assert len(kernels) == (2 if channels == 3 else 1)  # one for each of the convolutions
    nodes = graph.model.graph.node
    assert [sum(kernel.name in node.input for node in nodes) for kernel in kernels] == [3 * 3] * len(kernels)
