"""Picks: the labelled places of one line, read from text and placed on that line's section."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infer.errors import InferError
from infer.facies import FACIES_NAMES
from infer.section import LineKind, Section

BETWEEN_SAMPLES = 0.25
"""From here, in sample intervals, a pick lies between two samples. Times rounded to whole ms stay well below."""

_COLUMNS = "inline crossline twt_ms facies"


class PicksError(InferError, ValueError):
    """Picks that cannot be read, or that cannot be placed on the survey."""


@dataclass(frozen=True, eq=False)
class Picks:
    """Labelled places, one a row of the file, duplicates and all."""

    source: str  # the file's name
    inline: NDArray[np.int32]  # [pick], header numbers
    crossline: NDArray[np.int32]  # [pick]
    twt_ms: NDArray[np.float64]  # [pick]
    facies: NDArray[np.int8]  # [pick], positions in FACIES_NAMES

    def line(self) -> tuple[LineKind, int]:
        """The one line that all picks are on.

        Raises PicksError: they are on several.
        """
        inlines, crosslines = np.unique(self.inline), np.unique(self.crossline)
        if inlines.size == 1:
            return "inline", int(inlines[0])
        if crosslines.size == 1:
            return "crossline", int(crosslines[0])
        raise PicksError(
            f"{self.source} has picks on {inlines.size:,} inlines and {crosslines.size:,} crosslines: all of them "
            "must be on one inline or on one crossline."
        )


@dataclass(frozen=True)
class PickCounts:
    """What became of the rows of a picks file. All but the distinct ones are left out of training."""

    total: int
    distinct: int
    duplicates: int  # rows that say once more what an earlier one said
    contradictory: int  # rows at places that other rows give another facies
    outside: int
    between_samples: int
    on_dead_traces: int


@dataclass(frozen=True, eq=False)
class PlacedPicks:
    """Distinct picks by their indices on a section, ordered by trace, then sample."""

    kind: LineKind
    number: int
    trace: NDArray[np.int64]  # [pick]
    sample: NDArray[np.int64]  # [pick]
    facies: NDArray[np.int8]  # [pick]
    counts: PickCounts

    def per_facies(self) -> dict[str, int]:
        """How many picks each facies has, zeros included."""
        counts = np.bincount(self.facies, minlength=len(FACIES_NAMES))
        return {name: int(count) for name, count in zip(FACIES_NAMES, counts, strict=True)}

    def report(self) -> str:
        """The counts as a sentence."""
        c = self.counts
        sentence = (
            f"{c.total:,} picks: {c.distinct:,} distinct places on {self.kind} {self.number}, {c.duplicates:,} "
            f"duplicates, {c.contradictory:,} contradictory, {c.outside:,} outside, {c.on_dead_traces:,} on dead traces"
        )
        return sentence + (f", {c.between_samples:,} between samples" if c.between_samples else "")

    def summary(self) -> dict[str, object]:
        """The counts for a model card."""
        return {**asdict(self.counts), "facies": self.per_facies()}


def read_picks(path: Path) -> Picks:
    """The picks in MalenoV's text form: a row a pick, `inline crossline twt_ms facies`, separated by white space.

    Blank rows, and whatever follows a `#`, are skipped.

    Raises PicksError: there is no such file, it holds no picks, or a row is not a pick (with the row's number).
    """
    rows = _read_rows(path)
    if not any(_content(row) for row in rows):
        raise PicksError(f"{path.name} holds no picks. Each row of a picks file is `{_COLUMNS}`.")
    try:
        values = np.loadtxt(rows, np.float64, ndmin=2)
    except ValueError:
        values = np.empty((0, 0))
    if not _are_picks(values):
        raise PicksError(_first_fault(path.name, rows))
    inline, crossline, twt_ms, facies = values.T.copy()
    return Picks(path.name, inline.astype(np.int32), crossline.astype(np.int32), twt_ms, facies.astype(np.int8))


def place_picks(picks: Picks, section: Section) -> PlacedPicks:
    """Where the picks lie on `section`, which is the line that they are on.

    Header numbers and two-way times become indices through the section's own axes. On Dutch F3 that makes trace =
    crossline - 300 and sample = twt / 4 - 1, since its first sample is at 4 ms.

    Raises PicksError: not one pick is left, or a line of one sample.
    """
    if section.twt_ms.size < 2:
        raise PicksError(
            f"{section.kind.capitalize()} {section.number} has one sample a trace, and picks are placed by the time "
            "between two: nothing can be trained on it."
        )
    trace, on_survey = _trace_index(picks, section)
    sample, in_time, on_sample = _sample_index(picks.twt_ms, section)
    inside = on_survey & in_time
    between = inside & ~on_sample
    dead = inside & on_sample & ~section.live[trace]
    usable = inside & on_sample & section.live[trace]
    places = np.stack([trace, sample, picks.facies.astype(np.int64)], axis=1)[usable]
    distinct, contradictory = _distinct(places)
    counts = PickCounts(
        total=picks.facies.size,
        distinct=len(distinct),
        duplicates=len(places) - len(distinct) - contradictory,
        contradictory=contradictory,
        outside=int(np.count_nonzero(~inside)),
        between_samples=int(np.count_nonzero(between)),
        on_dead_traces=int(np.count_nonzero(dead)),
    )
    columns = np.ascontiguousarray(distinct.T)
    placed = PlacedPicks(section.kind, section.number, columns[0], columns[1], columns[2].astype(np.int8), counts)
    if not counts.distinct:
        raise PicksError(f"None of the picks in {picks.source} can be used. {placed.report()}.")
    return placed


def _trace_index(picks: Picks, section: Section) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The index of each pick's trace, and whether the section has a trace of that number at all."""
    numbers = picks.crossline if section.kind == "inline" else picks.inline
    index = np.searchsorted(section.crossing, numbers).clip(0, section.crossing.size - 1)
    return index, section.crossing[index] == numbers


def _sample_index(
    twt_ms: NDArray[np.float64], section: Section
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """The nearest sample of each time, whether the time is on the section, and whether that sample is where it is."""
    interval_ms = section.twt_ms[1] - section.twt_ms[0]
    position = (twt_ms - section.twt_ms[0]) / interval_ms
    last = section.twt_ms.size - 1
    in_time = (position > -BETWEEN_SAMPLES) & (position < last + BETWEEN_SAMPLES)
    index = np.rint(position).clip(0, last).astype(np.int64)
    return index, in_time, np.abs(position - index) < BETWEEN_SAMPLES


def _distinct(places: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """Each (trace, sample, facies) once, without the places that have several facies; and how many rows those had."""
    distinct, rows = np.unique(places, axis=0, return_counts=True)
    _, place, facies_per_place = np.unique(distinct[:, :2], axis=0, return_inverse=True, return_counts=True)
    agreed = facies_per_place[place.reshape(-1)] == 1
    return distinct[agreed], int(rows[~agreed].sum())


def _read_rows(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError as error:
        raise PicksError(f"There is no picks file at {path}.") from error
    except OSError as error:
        raise PicksError(f"{path} cannot be read: {error.strerror}.") from error


def _content(row: str) -> str:
    return row.partition("#")[0].strip()


def _are_picks(values: NDArray[np.float64]) -> bool:
    """Whether all rows are picks: four finite numbers, whole but for the time, and a facies of the table."""
    if values.shape[1] != 4 or not np.isfinite(values).all():
        return False
    whole = values[:, [0, 1, 3]]
    in_table = (values[:, 3] >= 0) & (values[:, 3] < len(FACIES_NAMES))
    return bool((whole == np.rint(whole)).all() and (np.abs(whole) < 2**31).all() and in_table.all())


def _first_fault(source: str, rows: list[str]) -> str:
    """The sentence about the first row that is not a pick. Slow, and only looked for when there is one."""
    for number, row in enumerate(rows, 1):
        content = _content(row)
        if not content:
            continue
        try:
            values = np.array([float(word) for word in content.split()], ndmin=2)
        except ValueError:
            values = np.empty((1, 0))
        if _are_picks(values):
            continue
        if values.shape[1] == 4 and _are_picks(values * [1, 1, 1, 0]):
            last = len(FACIES_NAMES) - 1
            return (
                f"Row {number} of {source} has facies {content.split()[3]}: facies are whole numbers from 0 "
                f"({FACIES_NAMES[0]}) to {last} ({FACIES_NAMES[last]})."
            )
        shown = content if len(content) <= 60 else content[:57] + "..."
        return f"Row {number} of {source} is not a pick: expected `{_COLUMNS}`, found `{shown}`."
    return f"{source} cannot be read as picks. Each row of a picks file is `{_COLUMNS}`."
