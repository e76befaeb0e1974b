"""A FaciesSection as an interpreter looks at it: the section in grey, the facies over it, time downwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import ListedColormap, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, StrMethodFormatter
from numpy.typing import NDArray

from infer.section import NO_DATA, FaciesSection, Section, TimeSlice

_OPACITY = 0.55
_NO_DATA_COLOUR = "#ffffff"


def draw(result: FaciesSection, path: Path, title: str, *, bare: bool = True) -> None:
    """Write a picture of `result` to `path`, with the bare section beside it: nothing hides under the facies.

    bare: False where the amplitudes are not known, and only facies are to be seen.
    """
    clip = result.amplitude_clip
    figure = section_and_facies(result.section, clip, result.facies, result.facies_colours, bare=bare)
    set_title(figure, _title(title, result.model, clip if bare else None))
    set_legend(figure, _labels(result.facies, result.facies_names), result.facies_colours)
    figure.savefig(path, dpi=110, format="png")


def draw_time_slice(result: TimeSlice, path: Path, title: str, *, bare: bool = True) -> None:
    """Write a picture of a time slice, inlines upwards, with the bare amplitudes beside the facies.

    bare: False where the amplitudes are not known, and only facies are to be seen.
    """
    figure, panels = _panels(7, bare=bare)
    extent = (*_ends(result.crossline.astype(float)), *_ends(result.inline.astype(float)))
    clip = result.amplitude_clip
    for axes in panels:
        axes.imshow(result.amplitude, cmap="gray", vmin=-clip, vmax=clip, extent=extent, aspect="auto", origin="lower")
        axes.set_facecolor(_NO_DATA_COLOUR)
        axes.set_xlabel("crossline")
        _whole_numbers(axes.xaxis)
        _whole_numbers(axes.yaxis)
    panels[0].set_ylabel("inline")
    _overlay(panels[-1], np.ma.masked_equal(result.facies, NO_DATA), result.facies_colours, extent, origin="lower")
    set_title(figure, _title(f"{title}, {result.twt_ms:g} ms", result.model, clip if bare else None))
    set_legend(figure, _labels(result.facies, result.facies_names), result.facies_colours)
    figure.savefig(path, dpi=110, format="png")


def section_and_facies(
    section: Section, amplitude_clip: float, facies: NDArray[np.int8], colours: tuple[str, ...], *, bare: bool = True
) -> Figure:
    """The bare section, unless it is not to be there, and beside it the section under its facies `[trace, sample]`."""
    figure, panels = _panels(6.5, bare=bare)
    for axes in panels:
        draw_section(axes, section, amplitude_clip)
    panels[0].set_ylabel("two-way time (ms)")
    draw_facies(panels[-1], section, facies, colours)
    return figure


def _panels(height: float, *, bare: bool) -> tuple[Figure, list[Axes]]:
    """A figure so many inches high, with the panel of the facies last; before it one without them, if wanted."""
    figure = Figure(figsize=(14, height), layout="constrained")
    return figure, list(figure.subplots(1, 2 if bare else 1, sharex=True, sharey=True, squeeze=False)[0])


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
    _whole_numbers(axes.xaxis)


def draw_facies(axes: Axes, section: Section, facies: NDArray[np.int8], colours: tuple[str, ...]) -> None:
    """Facies codes `[trace, sample]` over a section, see-through, nothing where there is no data."""
    _overlay(axes, np.ma.masked_equal(facies, NO_DATA).T, colours, _extent(section), origin="upper")


def _whole_numbers(axis: Axis) -> None:
    """Name lines by their numbers: there is none between two of them."""
    axis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    axis.set_major_formatter(StrMethodFormatter("{x:.0f}"))


def _overlay(
    axes: Axes,
    facies: Any,  # [row, column], masked where there is no data
    colours: tuple[str, ...],
    extent: tuple[float, float, float, float],
    origin: Literal["upper", "lower"],
) -> None:
    axes.imshow(
        facies,
        cmap=ListedColormap(list(colours)),
        vmin=-0.5,
        vmax=len(colours) - 0.5,
        extent=extent,
        aspect="auto",
        alpha=_OPACITY,
        interpolation="nearest",
        origin=origin,
    )


def _extent(section: Section) -> tuple[float, float, float, float]:
    """Left, right, bottom, top: each trace and sample is drawn around its own number and time."""
    (left, right), (top, bottom) = _ends(section.crossing.astype(float)), _ends(section.twt_ms)
    return left, right, bottom, top


def _ends(places: NDArray[np.float64]) -> tuple[float, float]:
    """Half a step before the first of evenly spaced places, and half a step after the last."""
    half = (places[-1] - places[0]) / max(len(places) - 1, 1) / 2 or 0.5
    return places[0] - half, places[-1] + half


def _title(what: str, model: str, amplitude_clip: float | None) -> str:
    """What a picture shows. model: empty, and amplitude_clip: None, where they are not known."""
    by = f" by {model}" if model else ""
    return f"{what}: facies{by}{'' if amplitude_clip is None else f', clip {amplitude_clip:.4g}'}"


def percent(share: float) -> str:
    """A share in words that fit a legend."""
    return "none" if share == 0 else "< 1 %" if share < 0.01 else f"{100 * share:.0f} %"


def _over_grey(colour: str) -> str:
    """What a see-through colour looks like over the section's middle grey."""
    red, green, blue = (_OPACITY * part + (1 - _OPACITY) * 0.5 for part in to_rgb(colour))
    return to_hex((red, green, blue))


def _labels(facies: NDArray[np.int8], names: tuple[str, ...]) -> list[str]:
    """Every facies of the model with its share, so that pictures of one model have one legend."""
    known = facies[facies != NO_DATA]
    shares = np.bincount(known.ravel(), minlength=len(names)) / max(known.size, 1)
    return [f"{name} {percent(share)}" for name, share in zip(names, shares, strict=True)]
