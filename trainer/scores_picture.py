"""Scores as pictures: which facies are taken for which, and what a probability is worth."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from infer.facies import FACIES
from infer.picture import set_title
from trainer.scores import CALIBRATION_BINS, Scores

_DRAWN = ("train", "test")
_DARK = 0.55  # from this share on, a cell's text is white
_INK, _PALE_BLUE, _RED = "#222222", "#99bbdd", "#cc3311"


def draw_confusion(scores: dict[str, Scores], title: str) -> Figure:
    """The confusion of train and test side by side: of each true facies' picks, what share is taken for what."""
    figure = Figure(figsize=(17, 8.2), layout="constrained")
    for axes, part in zip(figure.subplots(1, 2), _DRAWN, strict=True):
        _draw_matrix(axes, scores[part])
        axes.set_title(f"{part}: {scores[part].accuracy:.2%} of {scores[part].patches:,} picks are right", fontsize=13)
    set_title(figure, title)
    return figure


def _draw_matrix(axes: Axes, scores: Scores) -> None:
    confusion = np.array(scores.confusion)
    picks = confusion.sum(axis=1)
    share = confusion / np.maximum(picks, 1)[:, None]
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for true, taken in np.argwhere(confusion).tolist():
        _write_cell(axes, true, taken, share[true, taken], confusion[true, taken])
    for true in np.flatnonzero(picks == 0).tolist():
        axes.axhspan(true - 0.5, true + 0.5, facecolor="#eeeeee")
        axes.text(len(picks) / 2 - 0.5, true, "no picks", ha="center", va="center", color="#777777", style="italic")
    _name_axes(axes, scores.facies, picks)


def _write_cell(axes: Axes, true: int, taken: int, share: float, picks: int) -> None:
    colour = "white" if share > _DARK else _INK
    strong = "bold" if true == taken else "normal"
    axes.text(taken, true - 0.14, _percent(share), ha="center", va="center", color=colour, fontsize=12, weight=strong)
    axes.text(taken, true + 0.24, f"{picks:,}", ha="center", va="center", color=colour, fontsize=8)


def _name_axes(axes: Axes, facies: list[str], picks: NDArray[np.int64]) -> None:
    places = np.arange(len(facies))
    axes.set_xticks(places, facies, rotation=35, ha="right", rotation_mode="anchor", fontsize=10)
    axes.set_yticks(places, [f"{name}\n{count:,}" for name, count in zip(facies, picks, strict=True)], fontsize=10)
    axes.set_xlabel("taken for", fontsize=12)
    axes.set_ylabel("true facies, and its picks", fontsize=12)
    axes.set_xticks(places[:-1] + 0.5, minor=True)
    axes.set_yticks(places[:-1] + 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="both", length=0)
    # A bar in the facies' own colour ties the rows to the sections that `infer slice` draws.
    for place, name in enumerate(facies):
        axes.plot([-0.5, -0.5], [place - 0.5, place + 0.5], color=FACIES[name], linewidth=9, solid_capstyle="butt")
    axes.set_xlim(-0.5, len(facies) - 0.5)


def draw_calibration(scores: dict[str, Scores], title: str) -> Figure:
    """How often the chosen facies is right, by its probability, on train and test; and how many picks have which."""
    figure = Figure(figsize=(11, 6.6), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True, sharey="row", height_ratios=(3, 1))
    for (reliability, picks), part in zip(panels.T, _DRAWN, strict=True):
        _draw_reliability(reliability, scores[part])
        _draw_counts(picks, scores[part])
        reliability.set_title(f"{part}: expected calibration error {scores[part].ece:.1%}")
        picks.set_xlabel("probability of the chosen facies, %")
    panels[0, 0].set_ylabel("of these picks right, %")
    panels[1, 0].set_ylabel("share of picks, %")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    set_title(figure, title)
    return figure


def _draw_reliability(axes: Axes, scores: Scores) -> None:
    middle, right, said = _columns(scores, "accuracy", "confidence")
    half = 50 / CALIBRATION_BINS
    axes.bar(middle, right, 2 * half, color=_PALE_BLUE, edgecolor="white", label="right")
    axes.vlines(middle, right, said, color=_RED, linewidth=1)
    axes.hlines(said, middle - half, middle + half, color=_RED, linewidth=3, label="what the network says")
    axes.plot([0, 100], [0, 100], "--", color=_INK, linewidth=1, label="as it should be")
    axes.set(xlim=(0, 100), ylim=(0, 100))
    axes.set_axisbelow(True)
    axes.grid(alpha=0.3)


def _draw_counts(axes: Axes, scores: Scores) -> None:
    middle, picks = _columns(scores, "patches")
    axes.bar(middle, picks / scores.patches, 100 / CALIBRATION_BINS, color="#999999", edgecolor="white")
    axes.set_axisbelow(True)
    axes.grid(alpha=0.3)


def _columns(scores: Scores, *names: str) -> list[NDArray[np.float64]]:
    """The middle of each bin that holds picks, and what else is asked of it, in percent `[bin]`."""
    middle = [50 * (b.above + b.to) for b in scores.calibration]
    return [np.array(middle), *(100 * np.array([getattr(b, name) for b in scores.calibration]) for name in names)]


def _percent(share: float) -> str:
    return "< 1 %" if share < 0.01 else f"{100 * min(share, 0.99 if share < 1 else 1):.0f} %"
