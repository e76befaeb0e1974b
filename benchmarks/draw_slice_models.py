"""Draws what a slice model saves: the positions of each of the Waldeland CNN's layers in two neighbouring patches.

python benchmarks/draw_slice_models.py exported/waldeland.onnx docs/slice_models.png
"""

from __future__ import annotations

import sys

import onnx
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from trainer.slice_axes import Axis, Read, axis_after, patch_axis

PATCH_SIZE = 64
SHIFT = 32  # of the second patch against the first
COLOURS = ("#4477aa", "#ee8833")


def main() -> None:
    model = onnx.load(sys.argv[1])
    layers = [("patch", patch_axis(PATCH_SIZE), [False])]
    for node in model.graph.node:
        if node.op_type == "Conv":
            _, before, met = layers[-1]
            layers.append((f"conv {len(layers)}", *convolved(before, met, node)))
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.subplots()
    for row, (name, axis, meets) in enumerate(layers):
        for patch in (0, 1):
            draw(axes, axis, meets, row, patch)
        axes.text(-2, row + 0.5, name, ha="right", va="center")
    axes.set(xlim=(-10, PATCH_SIZE + SHIFT + 1), ylim=(0, len(layers)), yticks=[], xlabel="traces of the section")
    axes.set_xticks(range(0, PATCH_SIZE + SHIFT + 1, 16))
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    meaning = ("never meets the patch's padding", "meets it")
    handles = [Patch(color=colour, label=label) for colour, label in zip(COLOURS, meaning, strict=True)]
    figure.legend(handles=handles, loc="outside upper center", ncols=2, frameon=False)
    figure.savefig(sys.argv[2], dpi=110)


def convolved(axis: Axis, met: list[bool], node: onnx.NodeProto) -> tuple[Axis, list[bool]]:
    """The layer after, and which of its functions meet the padding, themselves or through what they read."""
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    size, stride = attributes["kernel_shape"][0], attributes["strides"][0]
    before, after = attributes["pads"][0], attributes["pads"][2]
    begins = range(-before, len(axis) + after - size + 1, stride)
    after_it = axis_after(
        [axis], [[Read(begin + tap, tap) for tap in range(size) if 0 <= begin + tap < len(axis)] for begin in begins]
    )
    return after_it, [len(taps) < size or any(met[tap.function] for tap in taps) for taps in after_it.functions]


def draw(axes, axis: Axis, meets: list[bool], row: int, patch: int) -> None:
    """The positions of one layer in one patch, each as wide as the layer's stride."""
    width = PATCH_SIZE / len(axis)
    for position in axis.positions:
        colour = COLOURS[meets[position.function]]
        corner = position.shift + patch * SHIFT, row + 0.52 - 0.4 * patch
        axes.add_patch(Rectangle(corner, width, 0.36, facecolor=colour, edgecolor="white", linewidth=0.8))


if __name__ == "__main__":
    main()
