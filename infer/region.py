"""The part of a survey that is asked for: ranges of inlines, crosslines and two-way times."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from infer.errors import LineNotFoundError, OptionError
from infer.survey import LineRange, Survey

AXES = ("inlines", "crosslines", "twt")

_BOUND = r"-?\d+(?:\.\d+)?"
_PART = re.compile(rf"({'|'.join(AXES)})=({_BOUND})(?::({_BOUND}))?")


@dataclass(frozen=True)
class Region:
    """Ranges with both ends, as header numbers and ms; None: all there are."""

    inlines: tuple[float, float] | None = None
    crosslines: tuple[float, float] | None = None
    twt: tuple[float, float] | None = None

    @classmethod
    def parse(cls, text: str) -> Region:
        """`inlines=100:200,crosslines=300:400,twt=1000:1400`, or some of them; one number is a range of one.

        >>> Region.parse("inlines=100:200,twt=1848")
        Region(inlines=(100.0, 200.0), crosslines=None, twt=(1848.0, 1848.0))

        Raises OptionError: it is not like that, or a range runs backwards.
        """
        ranges: dict[str, tuple[float, float]] = {}
        for part in text.replace(" ", "").split(","):
            match = _PART.fullmatch(part)
            if match is None or match[1] in ranges:
                raise OptionError(
                    "A region is written like inlines=100:200,crosslines=300:400,twt=1000:1400, times in ms, each at "
                    f"most once; '{part}' is not."
                )
            first = float(match[2])
            last = float(match[3] or first)
            if last < first:
                raise OptionError(
                    f"'{part}' runs backwards: write {match[1]}={match[3]}:{match[2]}, whichever way the survey counts."
                )
            ranges[match[1]] = first, last
        return cls(**ranges)

    def box(self, survey: Survey) -> Box:
        """Where it is in a survey.

        Raises OptionError: a range without anything of the survey.
        """
        inlines = _lines("inlines", self.inlines, survey.inlines, survey)
        crosslines = _lines("crosslines", self.crosslines, survey.crosslines, survey)
        return Box(inlines, crosslines, _samples(self.twt, survey))

    def left_out(self, survey: Survey) -> Iterator[str]:
        """A sentence on every range that reaches beyond what the survey has, and on a time between samples."""
        inlines, crosslines = survey.inlines, survey.crosslines
        times = float(survey.twt_ms[0]), float(survey.twt_ms[-1])
        ends = (inlines.first, inlines.last), (crosslines.first, crosslines.last), times
        there = f"{inlines}", f"{crosslines}", f"{_asked(times)} ms"
        ranges = self.inlines, self.crosslines, self.twt
        for axis, wanted, (first, last), those in zip(AXES, ranges, ends, there, strict=True):
            if wanted and wanted[0] != wanted[1] and not first <= wanted[0] <= wanted[1] <= last:
                yield f"Of {axis}={colon(wanted)} the survey has only those {those}; the rest is left out."
        if self.twt and self.twt[0] == self.twt[1]:
            nearest_ms = float(survey.twt_ms[_samples(self.twt, survey).start])
            if abs(nearest_ms - self.twt[0]) > 1e-3:
                yield f"There is no sample at {self.twt[0]:g} ms: the nearest, at {nearest_ms:g} ms, is taken."


class Box(NamedTuple):
    """Indices of a survey's inlines, crosslines and samples: all from `start` to before `stop`."""

    inlines: range
    crosslines: range
    samples: range

    @property
    def shape(self) -> tuple[int, int, int]:
        """Inlines, crosslines, samples."""
        return len(self.inlines), len(self.crosslines), len(self.samples)


def _lines(name: str, wanted: tuple[float, float] | None, lines: LineRange, survey: Survey) -> range:
    if wanted is None:
        return range(lines.count)
    first, last = (
        math.ceil((wanted[0] - lines.first) / lines.step),
        math.floor((wanted[1] - lines.first) / lines.step),
    )
    found = range(max(0, first), min(lines.count - 1, last) + 1)
    if not found:
        raise LineNotFoundError(
            f"{survey.path.name} has no {name} {_asked(wanted)}: they run {lines}. See `{survey.command('scan')}`."
        )
    return found


def _samples(wanted: tuple[float, float] | None, survey: Survey) -> range:
    if wanted is None:
        return range(survey.n_samples)
    twt_ms, slack = survey.twt_ms, survey.sample_interval_ms * 1e-6
    if wanted[0] == wanted[1]:  # the sample nearest to it
        slack = survey.sample_interval_ms / 2
    low, high = np.searchsorted(twt_ms, wanted[0] - slack), np.searchsorted(twt_ms, wanted[1] + slack, "right")
    if low >= high:
        at = "at " if wanted[0] == wanted[1] else ""
        raise OptionError(
            f"{survey.path.name} has no samples {at}{_asked(wanted)} ms: they run from {twt_ms[0]:g} to "
            f"{twt_ms[-1]:g} ms, one every {survey.sample_interval_ms:g} ms."
        )
    return range(int(low), int(high)) if wanted[0] != wanted[1] else range(int(low), int(low) + 1)


def colon(ends: tuple[float, float]) -> str:
    """`100:200`, as `Region.parse` takes it; of line numbers every digit."""
    return f"{ends[0]:.15g}:{ends[1]:.15g}"


def _asked(wanted: tuple[float, float]) -> str:
    """`from 100 to 200`, or `100` alone; of line numbers every digit."""
    first, last = (f"{end:.15g}" for end in wanted)
    return first if first == last else f"from {first} to {last}"
