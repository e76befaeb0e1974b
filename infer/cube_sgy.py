"""A whole survey's facies as SEG-Y: every trace and header of the source in its order, other samples."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from infer import _segy
from infer._segy import Field, SegyFile
from infer.cube_plan import LINES, Block, Plan
from infer.errors import OutputError
from infer.section import NO_DATA
from infer.segy_output import file_header, trace_rows
from infer.survey import TIME_SCALARS, Survey

_PIECE = 4096  # traces that are written at once, at most
_LONGEST_DELAY = 32_767
_OTHER_TIMES = (95, 97, 99, 101, 103, 105, 107, 111, 113)  # that bytes 215-216 scale: upholes, statics, lags, mutes
_EXACT_MS = 1e-5


class SegyStore:
    """One file a quantity. Blocks have their own places in it, so that any process may write any block."""

    def __init__(self, plan: Plan, partials: Mapping[str, Path]) -> None:
        """partials: by quantity, where to write until all is whole.

        Raises OutputError: trace headers cannot say when a part of their samples begins.
        """
        self._survey, self._box, self._partials = plan.survey, plan.box, dict(partials)
        self._dtypes = plan.quantities
        whole = plan.box.shape[:2] == (plan.survey.inlines.count, plan.survey.crosslines.count)
        everything = Block(0, plan.box.inlines, plan.box.crosslines)
        self._kept = None if whole else self._traces_of(everything)  # of the source; None: all
        self._header_changes: list[tuple[int, NDArray[np.uint8]]] = []
        self._first: _FirstTime | None = None
        self.warnings: tuple[str, ...] = ()
        if len(plan.box.samples) < plan.survey.n_samples:
            first_ms = float(plan.survey.twt_ms[plan.box.samples.start])
            self._first = first = _FirstTime.of(plan.survey, first_ms)
            self._header_changes = _of_shorter_traces(len(plan.box.samples), first, plan.survey.file.byte_order)
            if abs(first.said_ms - first_ms) > _EXACT_MS:
                self.warnings = (
                    f"The first sample is at {first_ms:g} ms, and trace headers of {plan.survey.path.name} can only "
                    f"say {first.said_ms:g} ms: all times in a .sgy are that much off.",
                )

    @property
    def bytes_needed(self) -> int:
        """On the disk, for all files."""
        return sum(self._size(dtype) for dtype in self._dtypes.values())

    def create(self, *, filled: bool) -> None:
        """Files of their full size. filled: with every trace's header and no data yet, so that they can be opened."""
        file = self._survey.file
        for name, path in self._partials.items():
            n_samples = len(self._box.samples)
            with path.open("wb") as out:
                dtype = self._dtypes[name]
                out.write(file_header(file.preamble(), file.byte_order, dtype, self._n_traces(), n_samples))
                out.truncate(self._size(dtype))
        if filled:
            for start in range(0, len(self._box.inlines), LINES):
                self._write_nothing(Block(0, self._box.inlines[start : start + LINES], self._box.crosslines))

    def _write_nothing(self, block: Block) -> None:
        shape = len(block.inlines), len(block.crosslines), len(self._box.samples)
        nothing = {name: np.array(NO_DATA if dtype.kind == "i" else 0, dtype) for name, dtype in self._dtypes.items()}
        self.write(block, {name: np.broadcast_to(value, shape) for name, value in nothing.items()})

    def write(self, block: Block, values: Mapping[str, NDArray[Any]]) -> None:
        """Put a block's values `[inline, crossline, sample]` by quantity where they belong, and wait for the disk."""
        survey, traces = self._survey, self._traces_of(block)
        places = traces if self._kept is None else np.searchsorted(self._kept, traces)
        inline = (survey.inline_of_trace[traces] - survey.inlines.first) // survey.inlines.step - block.inlines.start
        crossline = survey.crossline_of_trace[traces] - survey.crosslines.first
        crossline = crossline // survey.crosslines.step - block.crosslines.start
        for name, path in self._partials.items():
            with path.open("r+b") as out:
                for start in range(0, len(traces), _PIECE):
                    part = slice(start, start + _PIECE)
                    samples = values[name][inline[part], crossline[part]]
                    self._write_traces(out, traces[part], places[part], samples)
                out.flush()
                os.fsync(out.fileno())

    def _write_traces(
        self, out: Any, traces: NDArray[np.intp], places: NDArray[np.intp], samples: NDArray[Any]
    ) -> None:
        file = self._survey.file
        headers = file.headers(traces)
        if self._first and self._first.scalar is not None:
            _rescale(headers, file, self._first.scalar)
        for start, change in self._header_changes:
            headers[:, start : start + len(change)] = change
        rows = trace_rows(headers, np.nan_to_num(samples), file.byte_order)
        breaks = np.flatnonzero(np.diff(places) != 1) + 1
        for first, last in pairwise([0, *breaks.tolist(), len(places)]):
            out.seek(file.first_byte + int(places[first]) * rows.shape[1])
            out.write(rows[first:last].data)

    def _traces_of(self, block: Block) -> NDArray[np.intp]:
        """The source's traces in that block, in file order, duplicates too."""
        survey = self._survey
        wanted = _within(survey.inline_of_trace, survey.inlines.numbers(), block.inlines)
        wanted &= _within(survey.crossline_of_trace, survey.crosslines.numbers(), block.crosslines)
        return np.flatnonzero(wanted)

    def _n_traces(self) -> int:
        return self._survey.n_traces if self._kept is None else len(self._kept)

    def _size(self, dtype: np.dtype[Any]) -> int:
        file = self._survey.file
        trace = file.header_bytes + len(self._box.samples) * dtype.itemsize
        return file.first_byte + self._n_traces() * trace


def _within(of_trace: NDArray[np.int32], numbers: NDArray[np.int32], part: range) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (of_trace >= numbers[part.start]) & (of_trace <= numbers[part.stop - 1])
    return found


class _FirstTime(NamedTuple):
    """How trace headers say when their first sample is."""

    delay: int
    scalar: int | None  # None: SEG-Y rev 0 has none
    said_ms: float

    @classmethod
    def of(cls, survey: Survey, first_ms: float) -> _FirstTime:
        """The first way of saying it exactly, the survey's own before all others; else the closest one.

        Raises OutputError: no header can say it.
        """
        file = survey.file
        scalars: list[int | None] = [None]
        if file.binary.revision >= (1, 0):
            own = int(file.column(file.headers(np.array([0])), _segy.TIME_SCALAR)[0])
            scalars = [own, *TIME_SCALARS] if own in (0, *TIME_SCALARS) else [*TIME_SCALARS]
        ways = []
        for scalar in scalars:
            factor = float(_segy.factors(np.array([scalar or 0], np.int16))[0])
            delay = round(first_ms / factor)
            if abs(delay) <= _LONGEST_DELAY:
                ways.append(cls(delay, scalar, delay * factor))
        if not ways:
            raise OutputError(
                f"Traces that begin at {first_ms:g} ms cannot be written as SEG-Y of {survey.path.name}: its trace "
                f"headers have room for {_LONGEST_DELAY:,} ms. Choose a .zarr, or no times in the --region."
            )
        return min(ways, key=lambda way: round(abs(way.said_ms - first_ms), 6))


def _rescale(headers: NDArray[np.uint8], file: SegyFile, scalar: int) -> None:
    """Have the other times of trace headers `[trace, byte]` mean by a scalar what they mean by their own."""
    own = file.column(headers, _segy.TIME_SCALAR)
    factor = _segy.factors(np.where(np.isin(own, TIME_SCALARS), own, 1)) / _segy.factors(np.array([scalar], np.int16))
    for byte in _OTHER_TIMES if (factor != 1).any() else ():
        times = file.column(headers, Field(byte, "i2"))
        rescaled = np.clip(np.round(times * factor), -_LONGEST_DELAY, _LONGEST_DELAY)
        stored = rescaled.astype(f"{file.byte_order}i2")[:, None].view(np.uint8)
        headers[:, byte - 1 : byte + 1] = np.where((factor != 1)[:, None], stored, headers[:, byte - 1 : byte + 1])


def _of_shorter_traces(n_samples: int, first: _FirstTime, order: str) -> list[tuple[int, NDArray[np.uint8]]]:
    """What trace headers say of their samples where these are only some: the first byte, from 0, and the bytes."""
    numbers = [(_segy.DELAY_MS, first.delay)]
    if n_samples <= 0xFFFF:
        numbers.append((_segy.SAMPLES, n_samples))
    if first.scalar is not None:
        numbers.append((_segy.TIME_SCALAR, first.scalar))
    return [(field.byte - 1, np.array([value], order + field.type).view(np.uint8)) for field, value in numbers]
