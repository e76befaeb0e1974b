"""Picks on their section: a line's labelled places as indices into it, each once, and what became of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infer.facies import FACIES_NAMES
from infer.section import NO_DATA, LineKind, Section
from infer.survey import Survey
from trainer.pick_amplitudes import AmplitudeFit, fit_amplitudes
from trainer.pick_files import Picks, PicksError, join, read_picks
from trainer.pick_sources import common_line, pick_files, read_sources

__all__ = ["PickCounts", "Picks", "PicksError", "PlacedPicks", "place_picks", "read_line_picks", "read_picks"]

BETWEEN_SAMPLES = 0.25
"""From here, in sample intervals, a pick lies between two samples. Times rounded to whole ms stay well below."""


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
    amplitudes: AmplitudeFit | None = None  # where the picks came with amplitudes

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences on what one should know before training on these picks."""
        sentences = [self.amplitudes.warning] if self.amplitudes and self.amplitudes.warning else []
        lost = self.counts.outside + self.counts.on_dead_traces
        if lost > self.counts.total / 2:
            sentences.append(
                f"{lost:,} of {self.counts.total:,} picks are not on live traces of {self.kind} {self.number}: "
                "are they of this survey?"
            )
        return tuple(sentences)

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
        if c.between_samples:
            sentence += f", {c.between_samples:,} between samples"
        if self.amplitudes:
            sentence += f"; their amplitudes and the section's correlate by {self.amplitudes.correlation:.3f}"
        return sentence

    def table(self) -> str:
        """The picks of each facies, in rows of code, name, picks and share."""
        total = self.facies.size
        rows = [f"{'code':>4}  {'facies':<20}{'picks':>10}{'share':>9}"]
        rows += [
            f"{code:>4}  {name:<20}{count:>10,}{count / total:>9.1%}"
            for code, (name, count) in enumerate(self.per_facies().items())
        ]
        return "\n".join([*rows, f"{'':>4}  {'all':<20}{total:>10,}"])

    def on(self, section: Section) -> NDArray[np.int8]:
        """The picks as facies `[trace, sample]` of their section, NO_DATA where there are none."""
        facies = np.full(section.shape, NO_DATA, np.int8)
        facies[self.trace, self.sample] = self.facies
        return facies

    def summary(self) -> dict[str, object]:
        """The counts for a model card."""
        fit = {"amplitude_correlation": round(self.amplitudes.correlation, 4)} if self.amplitudes else {}
        return {**asdict(self.counts), **fit, "facies": self.per_facies()}


def read_line_picks(sources: Sequence[Path], survey: Survey, legend: Path | None = None) -> tuple[Section, PlacedPicks]:
    """Read the picks of one line, and that line of the survey; and place the picks on it.

    sources: text files, point files, painted pictures, folders of them. legend: what the colours of pictures are.

    Raises PicksError: the picks cannot be read, are not on one line, or not one is left. LineNotFoundError: the survey
    does not have their line. DependencyError: a picture, and no Matplotlib. SurveyError: the survey cannot be read.
    """
    parts = read_sources(pick_files(sources), legend)
    section = survey.read_line(*common_line(parts))
    return section, place_picks(join([p if isinstance(p, Picks) else p.picks(section) for p in parts]), section)


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
    usable = inside & on_sample & section.live[trace]
    trace, sample, facies = trace[usable], sample[usable], picks.facies[usable]
    distinct, contradictory = _distinct(np.stack([trace, sample, facies.astype(np.int64)], axis=1))
    counts = PickCounts(
        total=picks.facies.size,
        distinct=len(distinct),
        duplicates=len(trace) - len(distinct) - contradictory,
        contradictory=contradictory,
        outside=int(np.count_nonzero(~inside)),
        between_samples=int(np.count_nonzero(inside & ~on_sample)),
        on_dead_traces=int(np.count_nonzero(inside & on_sample)) - len(trace),
    )
    fit = None if picks.amplitude is None else fit_amplitudes(section, trace, sample, picks.amplitude[usable])
    columns = np.ascontiguousarray(distinct.T)
    placed = PlacedPicks(section.kind, section.number, columns[0], columns[1], columns[2].astype(np.int8), counts, fit)
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
