"""A SEG-Y cube as a survey: geometry, line numbers, holes; reads one line without loading the cube."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infer import _segy
from infer._numbers import ByteOrder
from infer._segy import Field, SegyFile, spread
from infer.amplitude import estimate_clip, is_live, silence
from infer.errors import LineNotFoundError, OptionError, SurveyError
from infer.section import LineKind, Section

INLINE_BYTE, CROSSLINE_BYTE = 189, 193
"""Where SEG-Y rev 1 and later keep the line numbers."""

KNOWN_PAIRS = (
    (INLINE_BYTE, CROSSLINE_BYTE),
    (9, 21),
    (17, 13),
    (5, 21),
    (17, 21),
    (233, 237),
    (41, 45),
    (73, 77),
    (181, 185),
)
"""Where inline and crossline numbers may be, the usual place first, and then others' likeliest first."""

CLIP_TRACES = 1500
CLIP_SAMPLES = 20_000_000
MOST_LINES = 10_000_000
SPARSE_LINES = 10_000
KINDS = ("inline", "crossline")

TIME_SCALARS = [sign * 10**power for sign in (1, -1) for power in range(5)]
"""What bytes 215-216 may hold; 0 means 1."""


@dataclass(frozen=True)
class LineRange:
    """The numbers of a survey's inlines or crosslines: ascending, evenly stepped."""

    first: int
    last: int
    step: int
    count: int

    @classmethod
    def covering(cls, numbers: NDArray[np.int32]) -> LineRange:
        """The range that holds all of these distinct, ascending numbers; its step is what their distances share."""
        wide = numbers.astype(np.int64)
        step = int(np.gcd.reduce(np.diff(wide))) if len(wide) > 1 else 1
        first, last = int(wide[0]), int(wide[-1])
        return cls(first, last, step, (last - first) // step + 1)

    def __contains__(self, number: int) -> bool:
        return self.first <= number <= self.last and (number - self.first) % self.step == 0

    def __str__(self) -> str:
        steps = f" in steps of {self.step}" if self.step != 1 else ""
        return f"from {self.first} to {self.last}{steps}"

    def numbers(self) -> NDArray[np.int32]:
        """All numbers, `[line]`.

        >>> LineRange(300, 306, 2, 4).numbers()
        array([300, 302, 304, 306], dtype=int32)
        """
        return (self.first + self.step * np.arange(self.count, dtype=np.int64)).astype(np.int32)

    def index(self, number: int) -> int:
        """The position of the line with this number.

        >>> LineRange(300, 306, 2, 4).index(304)
        2

        Raises LineNotFoundError: the range does not have that number.
        """
        if number not in self:
            raise LineNotFoundError(f"There is no line {number}: the lines run {self}.")
        return (number - self.first) // self.step


@dataclass(frozen=True, eq=False)
class LineBytes:
    """What it takes to write a line back as SEG-Y with every header byte kept."""

    preamble: bytes
    """Everything before the file's first trace: text, binary and extended text headers."""
    byte_order: ByteOrder
    headers: NDArray[np.uint8]  # [trace, byte]: every trace of the line in FILE order, duplicates and extensions too
    traces: NDArray[np.intp]  # [trace]: where each of them is on the section's trace axis


@dataclass(frozen=True, eq=False)
class Survey:
    """A SEG-Y cube: which lines it has, which trace is where. Made by `open_survey`.

    It keeps no file open and may be pickled and used from several threads.
    """

    path: Path
    inlines: LineRange
    crosslines: LineRange
    n_samples: int
    sample_interval_ms: float
    first_twt_ms: float
    n_missing: int
    """Grid positions without a trace."""
    n_duplicate: int
    """Traces at a position that an earlier trace of the file has already."""
    warnings: tuple[str, ...]
    inline_byte: int
    crossline_byte: int
    file: SegyFile = field(repr=False)
    inline_of_trace: NDArray[np.int32] = field(repr=False)  # [trace], in file order, as are the next two
    crossline_of_trace: NDArray[np.int32] = field(repr=False)  # [trace]
    declared_dead: NDArray[np.bool_] = field(repr=False)  # [trace]: trace identification code 2

    @property
    def n_traces(self) -> int:
        """Traces in the file."""
        return self.file.n_traces

    @property
    def number_format(self) -> str:
        """How samples are stored, in words."""
        order = {">": "big-endian", "<": "little-endian"}[self.file.sample_order]
        return self.file.number_format.name + (f", {order}" if self.file.number_format.width > 1 else "")

    @property
    def twt_ms(self) -> NDArray[np.float64]:
        """The samples' two-way times, `[sample]`, ms."""
        return self.first_twt_ms + self.sample_interval_ms * np.arange(self.n_samples, dtype=np.float64)

    @cached_property
    def amplitude_clip(self) -> float:
        """99th percentile of |amplitude| over live traces spread evenly over the file; always the same for one file."""
        n = min(CLIP_TRACES, max(50, CLIP_SAMPLES // self.n_samples))
        amplitude, live, _ = self._read(spread(self.n_traces, n))
        return estimate_clip(amplitude[live])

    def read_line(self, kind: LineKind, number: int) -> Section:
        """One line, over the survey's whole crossing axis; a line of that axis without any trace is one long hole.

        Of several traces at one position the first live one is taken.
        Raises LineNotFoundError: no line has that number; OptionError: `kind` is neither "inline" nor "crossline";
        SurveyError: the file cannot be read any more.
        """
        traces, position = self._traces_of(kind, number)
        crossing = (self.crosslines if kind == "inline" else self.inlines).numbers()
        return self._section(kind, number, crossing, position, *self._read(traces))

    def read_lines(self, kind: LineKind, numbers: Sequence[int], within: range | None = None) -> list[Section]:
        """Several lines as `read_line` gives them, read in one pass through the file.

        within: only these indices of the crossing axis.

        Much quicker than one by one where neighbours lie across the file's order. Raises as `read_line` does.
        """
        crossing = (self.crosslines if kind == "inline" else self.inlines).numbers()
        within = range(len(crossing)) if within is None else within
        of_lines = [_those(within, *self._traces_of(kind, number)) for number in numbers]
        crossing = crossing[within.start : within.stop]
        traces = np.concatenate([np.empty(0, np.intp), *(traces for traces, _ in of_lines)])
        order = np.argsort(traces, kind="stable")
        amplitude = self.file.amplitude(traces[order])
        places = np.empty(len(order), np.intp)
        places[order] = np.arange(len(order))
        sections = []
        for number, (traces, position) in zip(numbers, of_lines, strict=True):
            own, places = places[: len(traces)], places[len(traces) :]
            sections.append(self._section(kind, number, crossing, position, *self._judge(amplitude[own], traces)))
        return sections

    def _section(
        self,
        kind: LineKind,
        number: int,
        crossing: NDArray[np.int32],
        position: NDArray[np.intp],
        samples: NDArray[np.float32],
        alive: NDArray[np.bool_],
        silenced: int,
    ) -> Section:
        """A line of its traces' samples `[trace, sample]`, each at its position on the crossing axis."""
        amplitude = np.zeros((len(crossing), self.n_samples), np.float32)
        live = np.zeros(len(crossing), np.bool_)
        _, first = np.unique(position[alive], return_index=True)
        chosen = np.flatnonzero(alive)[first]
        amplitude[position[chosen]] = samples[chosen]
        live[position[chosen]] = True
        along = np.full(len(crossing), number, np.int32)
        inline, crossline = (along, crossing) if kind == "inline" else (crossing, along)
        return Section(kind, number, amplitude, inline, crossline, self.twt_ms, live, silenced)

    def read_inline(self, number: int) -> Section:
        """`read_line("inline", number)`."""
        return self.read_line("inline", number)

    def read_crossline(self, number: int) -> Section:
        """`read_line("crossline", number)`."""
        return self.read_line("crossline", number)

    def line_bytes(self, kind: LineKind, number: int) -> LineBytes:
        """The headers with which that line can be written back as SEG-Y.

        Raises LineNotFoundError: no line has that number; OptionError: `kind` is neither "inline" nor "crossline".
        """
        traces, position = self._traces_of(kind, number)
        return LineBytes(self.file.preamble(), self.file.byte_order, self.file.headers(traces), position)

    def command(self, verb: str, line: str = "") -> str:
        """The command line that does `verb` to this file: `infer scan cube.sgy`, with the header bytes it takes."""
        known = (self.inline_byte, self.crossline_byte) == (INLINE_BYTE, CROSSLINE_BYTE)
        places = "" if known else _flags(self.inline_byte, self.crossline_byte)
        return " ".join(part for part in ("infer", verb, _quoted(self.path), line, places) if part)

    def _traces_of(self, kind: LineKind, number: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """A line's traces in file order, and where each is on the crossing axis."""
        if kind not in KINDS:
            raise OptionError(f"A line is an 'inline' or a 'crossline', not {kind!r}.")
        lines, crossing = self.inlines, self.crosslines
        along, across = self.inline_of_trace, self.crossline_of_trace
        if kind == "crossline":
            lines, crossing, along, across = crossing, lines, across, along
        if number not in lines:
            raise LineNotFoundError(self._no_line(kind, number, lines))
        traces = np.flatnonzero(along == number)
        return traces, (across[traces].astype(np.int64) - crossing.first) // crossing.step

    def _no_line(self, kind: LineKind, number: int, lines: LineRange) -> str:
        there = f"its {kind}s run {lines}" if lines.count > 1 else f"its only {kind} is {lines.first}"
        return f"{self.path.name} has no {kind} {number}: {there}. See `{self.command('scan')}`."

    def _read(self, traces: NDArray[np.intp]) -> tuple[NDArray[np.float32], NDArray[np.bool_], int]:
        """Finite amplitudes `[trace, sample]` of these traces, which are live `[trace]`, how many samples were not."""
        return self._judge(self.file.amplitude(traces), traces)

    def _judge(
        self, amplitude: NDArray[np.float32], traces: NDArray[np.intp]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_], int]:
        silenced = silence(amplitude)
        return amplitude, is_live(amplitude) & ~self.declared_dead[traces], silenced


def _those(
    within: range, traces: NDArray[np.intp], position: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The traces at those positions, and where they are among them."""
    kept = (position >= within.start) & (position < within.stop)
    return traces[kept], position[kept] - within.start


def _quoted(path: Path) -> str:
    """The path as one pastes it into a shell."""
    if os.name == "nt":
        return f'"{path}"' if " " in str(path) else str(path)
    return shlex.quote(str(path))


def open_survey(
    path: str | os.PathLike[str], *, inline_byte: int | None = None, crossline_byte: int | None = None
) -> Survey:
    """Open a post-stack SEG-Y file: one pass over its trace headers, and a few traces' samples to judge the format by.

    Nothing else is read of traces of more than 8 KB; shorter ones are read past in blocks, samples and all, which is
    quicker than to seek from header to header.

    `inline_byte` and `crossline_byte` say where the trace headers keep the line numbers, as 4-byte integers counted
    from 1: 189 and 193 unless given (SEG-Y rev 1).

    Raises SurveyNotFoundError: no such file; SurveyError: it is not SEG-Y, truncated, pre-stack, or without usable line
    numbers; OptionError: a header byte outside 1 to 237, or the same for both.
    """
    il_byte = _check_byte("inline", INLINE_BYTE if inline_byte is None else inline_byte)
    xl_byte = _check_byte("crossline", CROSSLINE_BYTE if crossline_byte is None else crossline_byte)
    if il_byte == xl_byte:
        raise OptionError(f"The inline and the crossline number cannot both begin at byte {il_byte}.")
    file = _segy.read_layout(Path(path))
    columns = file.columns(_fields(il_byte, xl_byte))
    grid, grid_warnings = _find_grid(file, columns, il_byte, xl_byte)
    interval_ms, interval_warnings = _sample_interval(file, columns["interval_us"])
    first_twt_ms, delay_warnings = _first_time(file, columns["delay_ms"], columns["time_scalar"])
    return Survey(
        path=file.path,
        inlines=grid.inlines,
        crosslines=grid.crosslines,
        n_samples=file.n_samples,
        sample_interval_ms=interval_ms,
        first_twt_ms=first_twt_ms,
        n_missing=grid.inlines.count * grid.crosslines.count - grid.n_positions,
        n_duplicate=file.n_traces - grid.n_positions,
        warnings=(*file.warnings, *grid_warnings, *interval_warnings, *delay_warnings),
        inline_byte=il_byte,
        crossline_byte=xl_byte,
        file=file,
        inline_of_trace=grid.inline,
        crossline_of_trace=grid.crossline,
        declared_dead=columns["trace_id"] == _segy.DEAD,
    )


def _check_byte(kind: str, byte: int) -> int:
    last = _segy.TRACE_HEADER_BYTES - 3
    if not 1 <= byte <= last:
        raise OptionError(f"The {kind} number's first byte must be from 1 to {last}, not {byte}.")
    return byte


def _fields(inline_byte: int, crossline_byte: int) -> dict[str, Field]:
    return {
        "inline": Field(inline_byte, "i4"),
        "crossline": Field(crossline_byte, "i4"),
        "trace_id": _segy.TRACE_ID,
        "offset": _segy.OFFSET,
        "field_record": _segy.FIELD_RECORD,
        "cdp": _segy.CDP,
        "delay_ms": _segy.DELAY_MS,
        "time_scalar": _segy.TIME_SCALAR,
        "interval_us": _segy.INTERVAL_US,
    }


# Lines


@dataclass(frozen=True, eq=False)
class _Grid:
    """Where the traces are."""

    inline: NDArray[np.int32]  # [trace]
    crossline: NDArray[np.int32]  # [trace]
    inline_numbers: NDArray[np.int32]  # distinct, ascending
    crossline_numbers: NDArray[np.int32]
    n_positions: int
    n_shared: int  # positions with more than one trace

    @property
    def inlines(self) -> LineRange:
        return LineRange.covering(self.inline_numbers)

    @property
    def crosslines(self) -> LineRange:
        return LineRange.covering(self.crossline_numbers)

    @property
    def fold(self) -> float:
        """Traces per position."""
        return len(self.inline) / self.n_positions

    @property
    def fill(self) -> float:
        """How much of the lines that there are has traces."""
        return self.n_positions / (len(self.inline_numbers) * len(self.crossline_numbers))


def _grid(inline: NDArray[np.int32], crossline: NDArray[np.int32]) -> _Grid:
    _, counts = np.unique(places(inline, crossline), return_counts=True)
    return _Grid(
        inline, crossline, np.unique(inline), np.unique(crossline), len(counts), int(np.count_nonzero(counts > 1))
    )


def places(inline: NDArray[np.int32], crossline: NDArray[np.int32]) -> NDArray[np.int64]:
    """One number per place, `[trace]`, whose upper 32 bits are the first line number.

    A grid of bits would be vast where line numbers are wild.
    """
    return inline.astype(np.int64) << 32 | (crossline.astype(np.int64) - np.iinfo(np.int32).min)


def _find_grid(
    file: SegyFile, columns: dict[str, NDArray[Any]], inline_byte: int, crossline_byte: int
) -> tuple[_Grid, list[str]]:
    """The traces' places, or the sentence for a file that has none."""
    grid = _grid(columns["inline"], columns["crossline"])
    if file.n_traces > 1 and grid.n_positions == 1:
        elsewhere = (inline_byte, crossline_byte) != (INLINE_BYTE, CROSSLINE_BYTE)
        return _line_without_numbers(file, columns, grid, elsewhere)
    if grid.n_shared > 0.5 * grid.n_positions:
        _refuse_gathers(file, columns, grid, inline_byte, crossline_byte)
    for kind, byte, lines, numbers in (
        ("inline", inline_byte, grid.inlines, grid.inline_numbers),
        ("crossline", crossline_byte, grid.crosslines, grid.crossline_numbers),
    ):
        if _is_nonsense(lines, numbers):
            raise SurveyError(
                f"{file.path} has no usable {kind} numbers in trace header bytes {byte}-{byte + 3}: {len(numbers):,} "
                f"different ones from {lines.first} to {lines.last}. {_where_else(file)}"
            )
    return grid, _grid_warnings(grid)


def _is_nonsense(lines: LineRange, numbers: NDArray[np.int32]) -> bool:
    """Whether these cannot be line numbers: spread too thinly, or read from the wrong bytes or in the wrong order."""
    thin = lines.count > SPARSE_LINES and lines.count > 100 * len(numbers)
    return thin or lines.count > MOST_LINES or bool(numbers.any() and not (numbers & 0xFFFF).any())


def _grid_warnings(grid: _Grid) -> list[str]:
    n_duplicate = len(grid.inline) - grid.n_positions
    if not n_duplicate:
        return []
    traces = "1 trace repeats a position" if n_duplicate == 1 else f"{n_duplicate:,} traces repeat a position"
    return [f"{traces} that an earlier trace has; the first live one is used."]


def _where_else(file: SegyFile) -> str:
    """What to try where the line numbers are elsewhere: the pair of known places that makes a grid, if one does."""
    pair = _other_pair(file)
    if pair == (INLINE_BYTE, CROSSLINE_BYTE):
        return f"The usual bytes {pair[0]} and {pair[1]} hold a grid: leave out `--inline-byte` and `--crossline-byte`."
    if pair:
        return f"Bytes {pair[0]} and {pair[1]} hold a grid: try `{_flags(*pair)}`."
    return "Say where they are with `--inline-byte` and `--crossline-byte`."


def _flags(inline_byte: int, crossline_byte: int) -> str:
    return f"--inline-byte {inline_byte} --crossline-byte {crossline_byte}"


def _other_pair(file: SegyFile) -> tuple[int, int] | None:
    """The first known pair of header bytes whose numbers make a well-filled grid with hardly a duplicate."""
    places = {byte for pair in KNOWN_PAIRS for byte in pair}
    columns = file.columns({str(byte): Field(byte, "i4") for byte in places})
    return next((pair for pair in KNOWN_PAIRS if _is_grid(columns[str(pair[0])], columns[str(pair[1])])), None)


def _is_grid(inline: NDArray[np.int32], crossline: NDArray[np.int32]) -> bool:
    if inline.min() == inline.max() or crossline.min() == crossline.max():
        return False
    grid = _grid(inline, crossline)
    if _is_nonsense(grid.inlines, grid.inline_numbers) or _is_nonsense(grid.crosslines, grid.crossline_numbers):
        return False
    return grid.fold < 1.05 and grid.fill > 0.4


def _refuse_gathers(
    file: SegyFile, columns: dict[str, NDArray[Any]], grid: _Grid, inline_byte: int, crossline_byte: int
) -> None:
    """Raise the sentence for a file with several traces at most of its positions, unless it merely repeats itself."""
    offsets = _offsets_at_a_place(grid, columns["offset"])
    if offsets > 1:
        raise SurveyError(
            f"{file.path} is pre-stack: most of its {grid.n_positions:,} positions have several traces, with up to "
            f"{offsets:,} different offsets. Stack it, or extract one offset, first."
        )
    if grid.fold > 2.5 or _other_pair(file):
        raise SurveyError(
            f"{file.path} has no usable line numbers in trace header bytes {inline_byte} and {crossline_byte}: its "
            f"{file.n_traces:,} traces share {grid.n_positions:,} positions. {_where_else(file)}"
        )


def _offsets_at_a_place(grid: _Grid, offset: NDArray[np.int32]) -> int:
    """The most different offsets that one position has."""
    place = places(grid.inline, grid.crossline)
    order = np.lexsort((offset, place))
    place, offset = place[order], offset[order]
    begins = np.append(True, place[1:] != place[:-1])
    differs = begins | np.append(True, offset[1:] != offset[:-1])
    return int(np.bincount(np.cumsum(begins) - 1, weights=differs).max())


def _line_without_numbers(
    file: SegyFile, columns: dict[str, NDArray[Any]], grid: _Grid, elsewhere: bool
) -> tuple[_Grid, list[str]]:
    """A 2-D or arbitrary line as one inline, where all traces bear the same line numbers; else the reason why not.

    Who says that the numbers are `elsewhere` than usual wants numbers, and is told that there are none.
    """
    number, n_traces = int(columns["inline"][0]), file.n_traces
    nowhere = f"{file.path} has no line numbers: all {n_traces:,} traces say inline {number}, crossline " + str(
        int(columns["crossline"][0])
    )
    if elsewhere or (_other_pair(file) and not _offsets_at_a_place(grid, columns["offset"]) > 1):
        raise SurveyError(f"{nowhere}. {_where_else(file)}")
    cdp = columns["cdp"]
    stepped = len(np.unique(cdp)) == n_traces and LineRange.covering(np.unique(cdp)).count <= 4 * n_traces
    if not stepped:
        _refuse_numberless_gathers(file, columns)
    crossline = cdp if stepped else np.arange(1, n_traces + 1, dtype=np.int32)
    source = "CDP numbers (bytes 21-24)" if stepped else "traces counted from 1 in file order"
    warning = (
        f"There are no line numbers, so the file is read as one line: inline {number}, its crosslines the {source}."
    )
    return _grid(columns["inline"], crossline), [warning]


def _refuse_numberless_gathers(file: SegyFile, columns: dict[str, NDArray[Any]]) -> None:
    """Raise the sentence for shots or gathers without line numbers."""
    n_records, n_offsets = len(np.unique(columns["field_record"])), len(np.unique(columns["offset"]))
    if 1 < n_records < file.n_traces:
        raise SurveyError(
            f"{file.path} has no line numbers, and looks like shot gathers: {file.n_traces:,} traces of {n_records:,} "
            "field records. Facies need a stacked survey."
        )
    if n_offsets > 1:
        raise SurveyError(
            f"{file.path} is pre-stack: all of its {file.n_traces:,} traces are at one position, with {n_offsets:,} "
            "different offsets. Stack it, or extract one offset, first."
        )


# Times


def _sample_interval(file: SegyFile, interval_us: NDArray[np.int16]) -> tuple[float, list[str]]:
    """The sample interval in ms, and what is odd about it: rev 2's, else the binary header's, else the traces'."""
    extended = file.binary.extended_interval_us
    if file.binary.revision >= (2, 0) and 1 <= extended <= 1e8:
        return extended / 1000, []
    traces = _commonest(interval_us[interval_us != 0])
    stated = file.binary.interval_us or traces
    stated_us, traces_us = _microseconds(stated, traces), _microseconds(traces, stated)
    if stated_us == 0:
        return 4.0, ["The headers give no sample interval; 4 ms is assumed."]
    if stated_us < 0:
        return -stated_us / 1000, [
            f"The headers give a sample interval of {stated_us / 1000:g} ms; its sign is ignored."
        ]
    if traces_us > 0 and traces_us != stated_us:
        return stated_us / 1000, [
            f"The binary header gives a sample interval of {stated_us / 1000:g} ms, which is used; "
            f"the trace headers give {traces_us / 1000:g} ms."
        ]
    return stated_us / 1000, []


def _microseconds(interval: int, other: int) -> int:
    """A sample interval, read with 16 bits and a sign, that may have been written without one: 40,000 for -25,536.

    It was if that makes a round number of it, or if neither is round, both headers agree, and -interval is long too.
    """
    if interval >= 0:
        return interval
    unsigned = interval + (1 << 16)
    agreed = other == interval and interval % 500 and interval < -16_000
    return unsigned if unsigned % 500 == 0 or agreed else interval


def _commonest(values: NDArray[Any]) -> int:
    """The commonest value, or 0 of none."""
    distinct, counts = np.unique(values, return_counts=True)
    return int(distinct[np.argmax(counts)]) if len(distinct) else 0


def _first_time(file: SegyFile, delay_ms: NDArray[np.int16], scalar: NDArray[np.int16]) -> tuple[float, list[str]]:
    """The first sample's two-way time in ms, from the delay recording times and the scalar that applies to them."""
    known = np.isin(scalar, TIME_SCALARS) & (file.binary.revision >= (1, 0))
    times, counts = np.unique(delay_ms * _segy.factors(np.where(known, scalar, np.int16(1))), return_counts=True)
    first_ms = float(times[np.argmax(counts)])
    warnings = _ignored_scalars(file, scalar[~known & (delay_ms != 0)])
    if len(times) == 1:
        return first_ms, warnings
    return first_ms, [
        *warnings,
        f"The first sample's time differs from trace to trace ({times[0]:g} to {times[-1]:g} ms); "
        f"that of most traces, {first_ms:g} ms, is used for all.",
    ]


def _ignored_scalars(file: SegyFile, scalar: NDArray[np.int16]) -> list[str]:
    """What is to be said about time scalars that would have changed a time, but are none."""
    scalar = scalar[~np.isin(scalar, (-1, 0, 1))]
    if not len(scalar):
        return []
    reason = "the file is SEG-Y rev 0, which has none" if file.binary.revision < (1, 0) else "no such scalar exists"
    return [f"Bytes 215-216 of the trace headers hold {_commonest(scalar)}, which is no time scalar: {reason}."]
