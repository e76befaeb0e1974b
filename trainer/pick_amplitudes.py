"""Amplitudes that picks came with, held against the section: do the picks lie where they were picked?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infer.section import Section

FEWEST = 30
"""With fewer picks than these a correlation says nothing."""

_SHIFTS = [(0, 0), *((i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0))]
_POOR = 0.5


@dataclass(frozen=True)
class AmplitudeFit:
    """How well the picks' amplitudes correlate with the section's, at the picks and one trace or sample beside them."""

    picks: int
    correlation: float  # at the picks
    best_shift: tuple[int, int]  # traces, samples; where the correlation is farthest from zero
    best_correlation: float
    steps: tuple[str, str]  # what one trace and one sample are: "crossline" and 1, "twt" and 4 ms

    @property
    def warning(self) -> str:
        """A sentence where the picks seem to lie elsewhere, or to be of other data; empty where they fit."""
        here, best = abs(self.correlation), abs(self.best_correlation)
        # Neighbours are alike, so "clearly better" is that half of what does not fit goes, and not a fixed gain.
        if 1 - best < (1 - here) / 2 and best - here > 0.01:
            return (
                f"The amplitudes that the picks came with fit the section better at {self._beside()} (correlation "
                f"{self.best_correlation:.2f}) than where the picks are ({self.correlation:.2f}): the picks, or the "
                "survey's line numbers or times, are off by that much."
            )
        if here < _POOR:
            return (
                f"The amplitudes that the picks came with do not fit the section (correlation {self.correlation:.2f}): "
                "the picks are of another survey or of another processing, or they are misplaced by more than one "
                "trace and sample."
            )
        if self.correlation < 0:
            return (
                "The amplitudes that the picks came with fit the section upside down (correlation "
                f"{self.correlation:.2f}): the survey has the reverse polarity of the one that was picked."
            )
        return ""

    def _beside(self) -> str:
        parts = zip(self.best_shift, self.steps, strict=True)
        return " and ".join(step.format("+" if shift > 0 else "-") for shift, step in parts if shift)


def fit_amplitudes(
    section: Section, trace: NDArray[np.int64], sample: NDArray[np.int64], amplitude: NDArray[np.float64]
) -> AmplitudeFit | None:
    """Hold the picks' amplitudes (NaN: not known) against the section's at these places, all three `[pick]`.

    Shifts are compared on the picks that have live neighbours on all sides. None: too few, or amplitudes all alike.
    """
    inner = np.isfinite(amplitude) & _has_neighbours(section, trace, sample)
    trace, sample, amplitude = trace[inner], sample[inner], amplitude[inner]
    if amplitude.size < FEWEST:
        return None
    found = [_correlation(amplitude, section.amplitude[trace + i, sample + j]) for i, j in _SHIFTS]
    if not np.isfinite(found[0]):
        return None
    best = int(np.nanargmax(np.abs(found)))
    return AmplitudeFit(amplitude.size, found[0], _SHIFTS[best], found[best], _steps(section))


def _has_neighbours(section: Section, trace: NDArray[np.int64], sample: NDArray[np.int64]) -> NDArray[np.bool_]:
    last_trace, last_sample = section.shape[0] - 1, section.shape[1] - 1
    inner = (trace > 0) & (trace < last_trace) & (sample > 0) & (sample < last_sample)
    left, right = (trace - 1).clip(0), (trace + 1).clip(max=last_trace)
    neighbours: NDArray[np.bool_] = inner & section.live[left] & section.live[trace] & section.live[right]
    return neighbours


def _correlation(one: NDArray[np.float64], other: NDArray[np.float32]) -> float:
    """Pearson's; NaN where either does not vary."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(np.corrcoef(one, other)[0, 1])


def _steps(section: Section) -> tuple[str, str]:
    """One trace and one sample in header numbers and ms, with a place for the sign."""
    along = "crossline" if section.kind == "inline" else "inline"
    return (
        f"{along} {{}}{section.crossing[1] - section.crossing[0]}",
        f"twt {{}}{section.twt_ms[1] - section.twt_ms[0]:g} ms",
    )
