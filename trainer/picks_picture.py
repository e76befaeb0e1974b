"""Picks as an interpreter looks at them: on their section, with the bare section beside it, time downwards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from infer.errors import OutputError
from infer.facies import FACIES_COLOURS
from infer.files import writing
from infer.picture import percent, section_and_facies, set_legend, set_title
from infer.section import NO_DATA, Section
from infer.writers import check_outputs
from trainer.picks import PlacedPicks

SUFFIX = ".png"

_FEW = 3  # picks at the nine places in and around one: itself, and two neighbours on a line one sample thick
_PANEL_INCHES = (6.4, 5.0)  # a little less than the panels are


def draw_picks(path: Path, section: Section, placed: PlacedPicks, amplitude_clip: float, title: str) -> None:
    """Write a picture of the picks to `path`, which appears there only when it is whole.

    Raises OutputError: the disk does not take it.
    """
    figure = section_and_facies(section, amplitude_clip, placed.on(section), FACIES_COLOURS)
    _mark_lone(figure.axes[1], section, placed)
    set_title(figure, f"{title}: {placed.facies.size:,} picks on {placed.kind} {placed.number}")
    set_legend(figure, _labels(placed), FACIES_COLOURS)
    with writing(path) as temporary:
        figure.savefig(temporary, dpi=_dpi(section), format="png")


def _mark_lone(axes: Axes, section: Section, placed: PlacedPicks) -> None:
    """Put dots on picks that have few others around them: a see-through pixel is lost in the section."""
    labelled = np.pad(placed.on(section) != NO_DATA, 1)
    around = sum(labelled[placed.trace + i, placed.sample + j].astype(int) for i in range(3) for j in range(3))
    lone = around <= _FEW
    colours = np.array(FACIES_COLOURS)[placed.facies[lone]]
    axes.scatter(section.crossing[placed.trace[lone]], section.twt_ms[placed.sample[lone]], s=3, c=colours, marker="s")


def _dpi(section: Section) -> float:
    """Fine enough that a single pick does not fall between two pixels, up to a size that programs still show."""
    n_traces, n_samples = section.shape
    return min(max(110, n_traces / _PANEL_INCHES[0], n_samples / _PANEL_INCHES[1]), 300)


def _labels(placed: PlacedPicks) -> list[str]:
    """Every facies with its picks, so that pictures of several lines have one legend."""
    shares = {name: percent(count / placed.facies.size) for name, count in placed.per_facies().items()}
    return [
        f"{name} {count:,} ({shares[name]})" if count else f"{name} none" for name, count in placed.per_facies().items()
    ]


def check_picture(path: Path, survey: Path, files: Sequence[Path]) -> None:
    """Raise OutputError unless a picture can be written to `path` without harm to the files that it is made from."""
    if path.suffix.lower() != SUFFIX:
        raise OutputError(f"{path.name}: the picture of the picks is a {SUFFIX} file.")
    check_outputs([path], survey)
    if path.exists() and any(path.samefile(file) for file in files):
        raise OutputError(f"{path} is one of the files with picks; choose another name for their picture.")
