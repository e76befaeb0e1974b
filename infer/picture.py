"""A FaciesSection as an interpreter looks at it: the section in grey, the facies over it, time downwards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from infer.section import NO_DATA, FaciesSection, Section

_OPACITY = 0.55
_NO_DATA_COLOUR = "#ffffff"


def draw(result: FaciesSection, path: Path, title: str) -> None:
    """Write a picture of `result` to `path`, with the bare section beside it: nothing hides under the facies."""
    figure = side_by_side(result.section, result.amplitude_clip, result.facies, result.facies_colours)
    set_title(figure, f"{title}: facies by {result.model}, clip {result.amplitude_clip:.4g}")
    set_legend(figure, _labels(result), result.facies_colours)
    figure.savefig(path, dpi=110, format="png")


def side_by_side(section: Section, amplitude_clip: float, facies: NDArray[np.int8], colours: tuple[str, ...]) -> Figure:
    """The bare section, and beside it the section under its facies `[trace, sample]`."""
    figure = Figure(figsize=(14, 6.5), layout="constrained")
    bare, interpreted = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes in (bare, interpreted):
        draw_section(axes, section, amplitude_clip)
    bare.set_ylabel("two-way time (ms)")
    draw_facies(interpreted, section, facies, colours)
    return figure


def set_title(figure: Figure, title: str) -> None:
    """A title over both panels, whatever letters are in it."""
    figure.suptitle(title.encode(errors="replace").decode(), parse_math=False)


def set_legend(figure: Figure, labels: list[str], colours: tuple[str, ...]) -> None:
    """A patch a facies below the panels, coloured as the facies look over grey."""
    patches = [Patch(facecolor=_over_grey(colour)) for colour in colours]
    legend = figure.legend(patches, labels, loc="outside lower center", ncols=5, frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)


def draw_section(axes: Axes, section: Section, amplitude_clip: float) -> None:
    """The section in grey, holes and dead traces white, with line numbers and two-way time on the axes."""
    amplitude = np.ma.masked_array(section.amplitude, np.broadcast_to(~section.live[:, None], section.shape))
    axes.imshow(
        amplitude.T, cmap="gray", vmin=-amplitude_clip, vmax=amplitude_clip, extent=_extent(section), aspect="auto"
    )
    axes.set_facecolor(_NO_DATA_COLOUR)
    axes.set_xlabel("crossline" if section.kind == "inline" else "inline")


def draw_facies(axes: Axes, section: Section, facies: NDArray[np.int8], colours: tuple[str, ...]) -> None:
    """Facies codes `[trace, sample]` over a section, see-through, nothing where there is no data."""
    axes.imshow(
        np.ma.masked_equal(facies, NO_DATA).T,
        cmap=ListedColormap(list(colours)),
        vmin=-0.5,
        vmax=len(colours) - 0.5,
        extent=_extent(section),
        aspect="auto",
        alpha=_OPACITY,
        interpolation="nearest",
    )


def _extent(section: Section) -> tuple[float, float, float, float]:
    """Left, right, bottom, top: each trace and sample is drawn around its own number and time."""
    numbers, twt_ms = section.crossing.astype(float), section.twt_ms
    half_trace = (numbers[-1] - numbers[0]) / max(len(numbers) - 1, 1) / 2 or 0.5
    half_sample = (twt_ms[-1] - twt_ms[0]) / max(len(twt_ms) - 1, 1) / 2 or 0.5
    return numbers[0] - half_trace, numbers[-1] + half_trace, twt_ms[-1] + half_sample, twt_ms[0] - half_sample


def percent(share: float) -> str:
    """A share in words that fit a legend."""
    return "none" if share == 0 else "< 1 %" if share < 0.01 else f"{100 * share:.0f} %"


def _over_grey(colour: str) -> str:
    """What a see-through colour looks like over the section's middle grey."""
    red, green, blue = (_OPACITY * part + (1 - _OPACITY) * 0.5 for part in to_rgb(colour))
    return to_hex((red, green, blue))


def _labels(result: FaciesSection) -> list[str]:
    """Every facies of the model with its share of the section, so that pictures of one model have one legend."""
    known = result.facies[result.facies != NO_DATA]
    shares = np.bincount(known.ravel(), minlength=len(result.facies_names)) / max(known.size, 1)
    return [f"{name} {percent(share)}" for name, share in zip(result.facies_names, shares, strict=True)]
