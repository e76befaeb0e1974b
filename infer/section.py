"""Section, FaciesSection and TimeSlice: the things that flow through."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from infer.amplitude import is_live, silence
from infer.errors import OptionError

LineKind = Literal["inline", "crossline"]

NO_DATA = -1
"""The facies code of a sample without data: a dead trace or a hole."""


@dataclass(frozen=True, eq=False)
class Section:
    """One line's traces side by side, in ascending order of the crossing lines' numbers.

    The section spans the survey's whole crossing axis: where the file has no trace, `live` is False and the
    amplitude zero, exactly as for a dead trace.
    """

    kind: LineKind
    number: int
    amplitude: NDArray[np.float32]  # [trace, sample], C-contiguous, finite
    inline: NDArray[np.int32]  # [trace], header numbers
    crossline: NDArray[np.int32]  # [trace]
    twt_ms: NDArray[np.float64]  # [sample]
    live: NDArray[np.bool_]  # [trace]; False: a dead trace or a hole
    silenced: int = 0
    """How many samples were NaN, infinite or an "undefined" value, and were made zero."""

    def __post_init__(self) -> None:
        """Raise OptionError where a host program's arrays do not fit together."""
        if self.kind not in ("inline", "crossline"):
            raise OptionError(f"A section is an inline or a crossline, not '{self.kind}'.")
        if np.ndim(self.amplitude) != 2 or not isinstance(self.amplitude, np.ndarray):
            raise OptionError("A section's amplitude is an array with the axes trace, sample.")
        traces, samples = self.shape
        for name, size in (("inline", traces), ("crossline", traces), ("live", traces), ("twt_ms", samples)):
            if np.shape(getattr(self, name)) != (size,):
                raise OptionError(
                    f"A section of {traces:,} traces and {samples:,} samples has {size:,} values in `{name}`, and this "
                    f"one has {np.size(getattr(self, name)):,}: its axes are trace, sample."
                )

    @classmethod
    def from_amplitude(
        cls,
        amplitude: ArrayLike,
        kind: LineKind = "inline",
        number: int = 0,
        *,
        crossing: ArrayLike | None = None,
        sample_interval_ms: float = 4.0,
        first_twt_ms: float = 0.0,
    ) -> Section:
        """A section of a host program's amplitudes `[trace, sample]`, in any units, which are copied.

        crossing: the crossing lines' numbers, `[trace]`, ascending; counted from 0 by default. Numbers and times are
        only carried along: facies do not depend on them.

        Samples that are NaN, infinite or undefined (1e30) become zero and are counted. A trace whose samples are all
        equal is dead, and so gets no facies; one of a single sample is dead if that is zero. The mask of a masked array
        is not looked at: give `amplitude.filled(np.nan)`.

        >>> section = Section.from_amplitude([[0.0, 0.0], [1.0, -2.0], [3.0, np.nan]], "crossline", 500)
        >>> section.shape, section.live.tolist(), section.silenced
        ((3, 2), [False, True, True], 1)

        Raises OptionError: the arrays do not fit together, amplitudes are no real numbers, or `crossing`, `number` and
        times are none.
        """
        own = _own_copy(amplitude)
        silenced = silence(own)
        along = _line_numbers(np.arange(len(own)) if crossing is None else crossing, "crossing", 1)
        if (np.diff(along.astype(np.int64)) <= 0).any():
            raise OptionError("The crossing lines' numbers ascend along a section: turn it round where they descend.")
        numbers = np.full(len(own), _line_numbers(number, "number", 0))
        times = isinstance(first_twt_ms, Real) and isinstance(sample_interval_ms, Real)
        if not (times and math.isfinite(first_twt_ms) and 0 < sample_interval_ms < math.inf):
            raise OptionError(
                f"A section's samples begin at a time and are some ms apart, not at {first_twt_ms} ms and "
                f"{sample_interval_ms} ms."
            )
        inline, crossline = (numbers, along) if kind == "inline" else (along, numbers)
        twt_ms: NDArray[np.float64] = first_twt_ms + sample_interval_ms * np.arange(own.shape[1], dtype=np.float64)
        return cls(kind, int(number), own, inline, crossline, twt_ms, is_live(own), silenced)

    @property
    def shape(self) -> tuple[int, int]:
        """Traces, samples."""
        return self.amplitude.shape[0], self.amplitude.shape[1]

    @property
    def crossing(self) -> NDArray[np.int32]:
        """The numbers along the line, `[trace]`: crosslines for an inline, inlines for a crossline."""
        return self.crossline if self.kind == "inline" else self.inline

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences on what an interpreter should know before believing a result on this line."""
        sentences = []
        line, live = f"{self.kind.capitalize()} {self.number}", int(np.count_nonzero(self.live))
        if live < len(self.live) / 2:
            traces = "trace" if live == 1 else "traces"
            sentences.append(f"{line} has only {live:,} live {traces} at {len(self.live):,} places.")
        if self.silenced:
            are_none = "sample that is no amplitude" if self.silenced == 1 else "samples that are no amplitudes"
            sentences.append(f"{line} has {self.silenced:,} {are_none} (NaN, infinite, 1e30): taken as silence.")
        return tuple(sentences)


def _line_numbers(given: ArrayLike, name: str, axes: int) -> NDArray[np.int32]:
    """Whole numbers as SEG-Y headers have room for. Raises OptionError: they are none, or have other axes."""
    with suppress(ValueError, TypeError, OverflowError), np.errstate(invalid="ignore"):
        numbers = np.asarray(given)
        numbers = numbers.astype(np.float64) if numbers.dtype.kind == "O" else numbers
        whole: NDArray[np.int32] = numbers.astype(np.int32)
        if numbers.dtype.kind in "iuf" and numbers.ndim == axes and np.array_equal(whole, numbers):
            return whole
    what = "an array of them" if axes else "one of them"
    raise OptionError(f"Line numbers are whole numbers of 32 bits at most, and `{name}` is not {what}.")


def _own_copy(amplitude: ArrayLike) -> NDArray[np.float32]:
    """A host's amplitudes, C-contiguous and writable; what is too large for 32 bits is infinite.

    Raises OptionError: not numbers, or not two axes with samples along the second.
    """
    try:
        given = np.asarray(amplitude)
        if given.dtype.kind not in "buifO":
            raise TypeError(f"there is no amplitude in {given.dtype}")
        with np.errstate(over="ignore"):
            own = np.array(given, np.float32, order="C")
    except (TypeError, ValueError) as error:
        raise OptionError(f"A section's amplitudes are real numbers, an array [trace, sample]: {error}.") from error
    if own.ndim != 2:
        raise OptionError(f"A section's amplitude is an array with the axes trace, sample, not of shape {own.shape}.")
    if own.shape[1] == 0:
        raise OptionError(
            f"A section's traces have samples, and these {own.shape[0]:,} have none: its amplitude is an array with "
            "the axes trace, sample."
        )
    return own


@dataclass(frozen=True, eq=False)
class FaciesSection:
    """A section's facies: what `classify` returns and `write` writes."""

    section: Section
    facies: NDArray[np.int8]  # [trace, sample]; NO_DATA on dead traces and holes
    probabilities: NDArray[np.float32]  # [facies, trace, sample]; NaN on dead traces and holes
    facies_names: tuple[str, ...]
    facies_colours: tuple[str, ...]  # "#rrggbb" each
    amplitude_clip: float  # what the section was scaled by
    model: str  # its name

    @cached_property
    def confidence(self) -> NDArray[np.float32]:
        """The probability of the chosen facies, `[trace, sample]`; NaN without data."""
        confidence: NDArray[np.float32] = self.probabilities.max(axis=0)
        return confidence


@dataclass(frozen=True, eq=False)
class TimeSlice:
    """One sample of every trace of a survey, or of a part of it."""

    twt_ms: float
    inline: NDArray[np.int32]  # [inline]
    crossline: NDArray[np.int32]  # [crossline]
    amplitude: NDArray[np.float32]  # [inline, crossline]; NaN where it is not known
    facies: NDArray[np.int8]  # [inline, crossline]; -1 without data
    confidence: NDArray[np.float32]  # [inline, crossline]; NaN without data
    facies_names: tuple[str, ...]
    facies_colours: tuple[str, ...]
    amplitude_clip: float
    model: str
