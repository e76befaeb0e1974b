"""Where things are in a SEG-Y file, rev 0 to 2.1, and reading them in bounded pieces.

Source: SEG-Y_r2.1 (SEG Technical Standards Committee, 2023). Byte positions are counted from 1, as the standard counts.
No file stays open and nothing is mapped into memory, so that a survey can be pickled, shared among threads, and its
file deleted on Windows. segyio is not used here: it takes formats 4, 7 and 15 for IBM floats, cannot be told otherwise,
and opens little-endian files only when told.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from io import FileIO
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from infer._numbers import FIXED_POINT_WITH_GAIN, FORMATS, ByteOrder, NumberFormat, Reading, judge
from infer.errors import SurveyError, SurveyNotFoundError

TEXT_BYTES = 3200
FILE_HEADER_BYTES = 3600
TRACE_HEADER_BYTES = 240
ENDIAN_CONSTANT = 0x01020304

BLOCK_BYTES = 1 << 22
LONG_TRACE_BYTES = 8192
"""From here up it is quicker to seek from header to header than to read past the samples."""


class Field(NamedTuple):
    """A number in a trace header: its first byte (from 1) and its numpy type."""

    byte: int
    type: str


FIELD_RECORD = Field(9, "i4")
CDP = Field(21, "i4")
TRACE_ID = Field(29, "i2")
OFFSET = Field(37, "i4")
COORDINATE_SCALAR = Field(71, "i2")
SOURCE_X, SOURCE_Y = Field(73, "i4"), Field(77, "i4")
DELAY_MS = Field(109, "i2")
SAMPLES = Field(115, "u2")
INTERVAL_US = Field(117, "i2")
CDP_X, CDP_Y = Field(181, "i4"), Field(185, "i4")
TIME_SCALAR = Field(215, "i2")  # since rev 1

DEAD = 2
"""Trace identification code of a dead trace."""


@dataclass(frozen=True)
class BinaryHeader:
    """The fields of bytes 3201-3600 that matter here, read in one byte order."""

    byte_order: ByteOrder
    interval_us: int
    samples: int
    code: int
    measurement_system: int  # 1: metres, 2: feet
    revision: tuple[int, int]
    n_text: int  # extended text headers; -1: as many as it takes
    n_extensions: int  # additional 240-byte headers of each trace
    extended_samples: int
    extended_interval_us: float
    n_traces: int
    first_trace_byte: int
    n_trailers: int
    endian_constant: int

    @property
    def n_samples(self) -> int:
        """The sample count that holds: rev 2's, where it is given."""
        return self.extended_samples if self.revision >= (2, 0) and self.extended_samples > 0 else self.samples


def parse_binary_header(raw: bytes, byte_order: ByteOrder) -> BinaryHeader:
    """The binary header of a file that begins with these 3600 bytes."""

    def number(byte: int, letter: str) -> Any:
        return struct.unpack_from(byte_order + letter, raw, byte - 1)[0]

    revision = revision_of(raw[3500], raw[3501])
    return BinaryHeader(
        byte_order=byte_order,
        interval_us=number(3217, "h"),
        samples=number(3221, "H"),
        code=number(3225, "h"),
        measurement_system=number(3255, "h"),
        revision=revision,
        n_text=number(3505, "h"),
        n_extensions=_extensions(revision, number(3507, "i"), number(3507, "h")),
        extended_samples=number(3269, "i"),
        extended_interval_us=number(3273, "d"),
        n_traces=number(3513, "Q"),
        first_trace_byte=number(3521, "Q"),
        n_trailers=number(3529, "i"),
        endian_constant=number(3297, "I"),
    )


def revision_of(major: int, minor: int) -> tuple[int, int]:
    """What bytes 3501 and 3502 say. Some writers put 1 into both as one integer in their byte order: 0.1 means 1.0."""
    if major > 2:  # rev 0 left these bytes to anybody
        return 0, 0
    return (minor, 0) if major == 0 and minor in (1, 2) else (major, minor)


def _extensions(revision: tuple[int, int], long: int, short: int) -> int:
    """Rev 2.0 counts them in four bytes, rev 2.1 in the first two of these; nobody has more than a few."""
    if revision < (2, 0):
        return 0
    return max(0, min(long if 0 < long < 64 else short, 64))


@dataclass(frozen=True)
class SegyFile:
    """A SEG-Y file's layout, with which any header and any sample can be found."""

    path: Path
    binary: BinaryHeader
    number_format: NumberFormat
    sample_order: ByteOrder
    n_samples: int
    n_traces: int
    first_byte: int  # of the first trace, from 0
    warnings: tuple[str, ...] = ()

    place: Path = field(init=False)
    """The path from the root: the working directory may change."""

    def __post_init__(self) -> None:
        """Find the place from the working directory of now."""
        object.__setattr__(self, "place", Path(os.path.abspath(self.path)))  # noqa: PTH100 - asks for no folder if absolute

    @property
    def byte_order(self) -> ByteOrder:
        """The headers' byte order."""
        return self.binary.byte_order

    @property
    def header_bytes(self) -> int:
        """Bytes before a trace's samples, extensions included."""
        return TRACE_HEADER_BYTES * (1 + self.binary.n_extensions)

    @property
    def trace_bytes(self) -> int:
        """Bytes of a whole trace."""
        return self.header_bytes + self.n_samples * self.number_format.width

    def preamble(self) -> bytes:
        """Everything before the first trace: text, binary and extended text headers."""
        with _opened(self.place) as file:
            return file.read(self.first_byte)

    def headers(self, traces: NDArray[np.intp]) -> NDArray[np.uint8]:
        """The raw headers `[trace, byte]` of these traces, in the order given."""
        return self._read(traces, self.header_bytes)

    def sample_bytes(self, traces: NDArray[np.intp]) -> NDArray[np.uint8]:
        """The raw samples `[trace, byte]` of these traces; a view whose rows are contiguous."""
        return self._read(traces, self.trace_bytes)[:, self.header_bytes :]

    def amplitude(self, traces: NDArray[np.intp]) -> NDArray[np.float32]:
        """The samples of these traces as they are in the file, `[trace, sample]`: not finite, perhaps."""
        return self.number_format.decode(self.sample_bytes(traces), self.sample_order)

    def column(self, headers: NDArray[np.uint8], field: Field) -> NDArray[Any]:
        """One field of raw headers `[trace, byte]`, `[trace]`."""
        start = field.byte - 1
        width = int(field.type[1])
        return headers[:, start : start + width].view(self.byte_order + field.type)[:, 0]

    def columns(self, fields: Mapping[str, Field]) -> dict[str, NDArray[Any]]:
        """These fields of every trace of the file, `[trace]` each, from one pass over its headers."""
        columns = self.empty_columns(fields)
        for first, headers in self._header_blocks():
            self.fill(columns, fields, first, headers)
        return columns

    def empty_columns(self, fields: Mapping[str, Field]) -> dict[str, NDArray[Any]]:
        """Room for these fields of every trace, `[trace]` each, to be filled block by block with `fill`."""
        return {name: np.empty(self.n_traces, field.type) for name, field in fields.items()}

    def fill(
        self, columns: dict[str, NDArray[Any]], fields: Mapping[str, Field], first: int, headers: NDArray[np.uint8]
    ) -> None:
        """Put the fields of these raw headers `[trace, byte]` into their columns, from trace `first` on."""
        for name, of_header in fields.items():
            columns[name][first : first + len(headers)] = self.column(headers, of_header)

    def blocks(self) -> Iterator[tuple[int, NDArray[np.uint8], NDArray[np.float32]]]:
        """The whole file, some MB at a time: the first trace, raw headers `[trace, byte]`, samples `[trace, sample]`.

        The headers are good until the next block.
        """
        for first, block in self._whole_blocks():
            samples = self.number_format.decode(block[:, self.header_bytes :], self.sample_order)
            yield first, block[:, : self.header_bytes], samples

    def _header_blocks(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        if self.trace_bytes <= LONG_TRACE_BYTES:
            yield from self._whole_blocks()
            return
        step = BLOCK_BYTES // self.header_bytes
        for first in range(0, self.n_traces, step):
            yield first, self.headers(np.arange(first, min(first + step, self.n_traces)))

    def _whole_blocks(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        step = max(1, BLOCK_BYTES // self.trace_bytes)
        buffer = np.empty((min(step, self.n_traces), self.trace_bytes), np.uint8)
        with _opened(self.place) as file:
            file.seek(self.first_byte)
            for first in range(0, self.n_traces, step):
                block = buffer[: self.n_traces - first]
                _fill(file, block, self.path)
                yield first, block

    def _read(self, traces: NDArray[np.intp], n_bytes: int) -> NDArray[np.uint8]:
        """The first bytes of these traces, `[trace, byte]`; neighbours in the file are read together if read whole."""
        rows = np.empty((len(traces), n_bytes), np.uint8)
        whole = n_bytes == self.trace_bytes
        breaks = np.flatnonzero(np.diff(traces) != 1) + 1 if whole else np.arange(1, len(traces))
        with _opened(self.place) as file:
            for first, last in pairwise([0, *breaks.tolist(), len(traces)] if len(traces) else []):
                file.seek(self.first_byte + int(traces[first]) * self.trace_bytes)
                _fill(file, rows[first:last], self.path)
        return rows


def spread(n_traces: int, n: int) -> NDArray[np.intp]:
    """At most `n` traces spread evenly over a file of `n_traces`, ascending."""
    return np.unique(np.linspace(0, n_traces - 1, min(n, n_traces)).astype(np.intp))


def factors(scalar: NDArray[np.int16]) -> NDArray[np.float64]:
    """What header scalars multiply by: a positive one by itself, a negative one by its inverse, 0 by nothing.

    >>> factors(np.array([100, -10, 0], np.int16))
    array([100. ,   0.1,   1. ])
    """
    wide = scalar.astype(np.float64)
    return np.where(wide > 0, wide, 1.0) / np.where(wide < 0, -wide, 1.0)


def _opened(path: Path) -> FileIO:
    # Unbuffered: a buffer of 8 KB would read several traces where one is wanted.
    try:
        return path.open("rb", buffering=0)
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> SurveyError | SurveyNotFoundError:
    """The sentence for a file that the system does not give us."""
    if isinstance(error, FileNotFoundError):
        return SurveyNotFoundError(f"There is no file {path}.")
    if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises OSError for a name that is too long
        return SurveyError(f"{path} is a folder, not a SEG-Y file.")
    return SurveyError(f"{path} cannot be read: {error.strerror or error}.")


def _fill(file: FileIO, rows: NDArray[np.uint8], path: Path) -> None:
    """Fill `rows` from where the file stands."""
    rest = rows.data.cast("B")
    while len(rest):
        try:
            got = file.readinto(rest)
        except OSError as error:
            raise unreadable(path, error) from error
        if not got:
            raise SurveyError(f"{path} has become shorter while it was being read.")
        rest = rest[got:]


# Recognising a file


def read_layout(path: Path) -> SegyFile:
    """How the SEG-Y file at `path` is laid out.

    Raises SurveyNotFoundError; SurveyError: unreadable, not SEG-Y, truncated, or in an unsupported number format.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise unreadable(path, error) from error
    if path.is_dir():
        raise SurveyError(f"{path} is a folder, not a SEG-Y file.")
    if size == 0:
        raise SurveyError(f"{path} is empty: it has 0 bytes.")
    with _opened(path) as file:
        head = file.read(FILE_HEADER_BYTES + TRACE_HEADER_BYTES)
    if len(head) < FILE_HEADER_BYTES:
        raise SurveyError(f"{path} is not a SEG-Y file: it has {size:,} bytes, and the headers alone take 3,600.")
    binary = _binary_header(path, head)
    if size < FILE_HEADER_BYTES + TRACE_HEADER_BYTES:
        raise SurveyError(f"{path} has no traces: it ends after its file headers.")
    return _believe_or_judge(_fit(path, size, head, binary))


def _binary_header(path: Path, head: bytes) -> BinaryHeader:
    """The binary header in the byte order in which it makes sense."""
    big, little = parse_binary_header(head, ">"), parse_binary_header(head, "<")
    for header in (big, little):
        if header.endian_constant == ENDIAN_CONSTANT and header.code in FORMATS:
            return header
    for header in (big, little):  # codes are small numbers: what is one in one order is none in the other
        if header.code in FORMATS:
            return header
        if header.code == FIXED_POINT_WITH_GAIN and _is_text(head[:TEXT_BYTES]):
            raise SurveyError(
                f"{path} holds 32-bit fixed-point numbers with gain (SEG-Y format 4), which nobody has written for "
                "decades: convert it to IEEE floats first."
            )
    for header in (big, little):
        if _sensible_without_format(head, header):
            return header
    raise SurveyError(f"{path} is not a SEG-Y file: its bytes 3225-3226 hold {big.code}, which is no number format.")


def _sensible_without_format(head: bytes, header: BinaryHeader) -> bool:
    """Whether all but the number format is in order: text, an interval, and a sample count that the first trace has."""
    if len(head) < FILE_HEADER_BYTES + TRACE_HEADER_BYTES or not _is_text(head[:TEXT_BYTES]):
        return False
    trace_samples = struct.unpack_from(header.byte_order + "H", head, FILE_HEADER_BYTES + SAMPLES.byte - 1)[0]
    # A long text, read as headers, would pass but for this: in a binary header most bytes are zero.
    mostly_zero = head[TEXT_BYTES:FILE_HEADER_BYTES].count(0) > FILE_HEADER_BYTES // 20
    return mostly_zero and header.interval_us > 0 and 1 < header.samples == trace_samples


def _is_text(text: bytes) -> bool:
    """Whether bytes read as text, in EBCDIC or in ASCII; blank ones do."""
    characters = text.replace(b"\0", b"")
    return not characters or any(
        sum(c.isprintable() for c in characters.decode(encoding, "replace")) > 0.9 * len(characters)
        for encoding in ("cp037", "ascii")
    )


def text_header(path: Path) -> tuple[str, str]:
    """The file's text header as 40 lines of 80 characters, and its encoding: "EBCDIC" or "ASCII"."""
    with _opened(path) as file:
        raw = file.read(TEXT_BYTES)
    # A blank tells them apart: EBCDIC's is an "@" in ASCII, and ASCII's is nothing in EBCDIC.
    is_ascii = raw.count(b" ") > raw.count(b"@")
    text = raw.decode("ascii" if is_ascii else "cp037", "replace")
    lines = "\n".join(text[i : i + 80].rstrip() for i in range(0, len(text), 80))
    return lines, "ASCII" if is_ascii else "EBCDIC"


class _Guess(NamedTuple):
    width: int
    n_samples: int
    first_byte: int


def _fit(path: Path, size: int, head: bytes, binary: BinaryHeader) -> SegyFile:
    """The layout that the headers declare, or the likeliest correction that accounts for every byte of the file."""
    guesses = list(_guesses(path, size, head, binary))
    if not guesses:
        raise SurveyError(f"{path} does not say how many samples its traces have (bytes 3221-3222 are 0).")
    n_traces, warnings = _count_traces(path, size, binary, guesses[0])
    declared = _laid_out(path, binary, guesses[0], n_traces)
    if n_traces and _headers_agree(declared):
        return replace(declared, warnings=warnings)
    # Several traces of one length may be as long as some of another: a correction needs headers that look alike.
    for guess in guesses[1:]:
        n_whole, rest = divmod(size - guess.first_byte, _trace_bytes(binary, guess))
        file = _laid_out(path, binary, guess, n_whole)
        if rest == 0 and n_whole > 0 and _headers_agree(file):
            return replace(file, warnings=tuple(_corrections(file, guesses[0])))
    if n_traces:
        return replace(declared, warnings=warnings)
    raise _misfit(path, size, head, binary, guesses[0])


def _laid_out(path: Path, binary: BinaryHeader, guess: _Guess, n_traces: int) -> SegyFile:
    declared = FORMATS.get(binary.code)
    number_format = declared if declared and declared.width == guess.width else _of_width(guess.width)
    return SegyFile(path, binary, number_format, binary.byte_order, guess.n_samples, n_traces, guess.first_byte)


def _trace_bytes(binary: BinaryHeader, guess: _Guess) -> int:
    return TRACE_HEADER_BYTES * (1 + binary.n_extensions) + guess.width * guess.n_samples


def _guesses(path: Path, size: int, head: bytes, binary: BinaryHeader) -> Iterator[_Guess]:
    trace_samples = struct.unpack_from(binary.byte_order + "H", head, FILE_HEADER_BYTES + SAMPLES.byte - 1)[0]
    counts = [n for n in dict.fromkeys((binary.n_samples, binary.samples, trace_samples)) if n > 0]
    declared = FORMATS.get(binary.code)
    widths = dict.fromkeys((declared.width if declared else 4, 4, 2, 1, 8, 3))
    starts = list(dict.fromkeys(_starts(path, size, binary)))
    yield from (_Guess(w, n, s) for w in widths for s in starts for n in counts)


def _starts(path: Path, size: int, binary: BinaryHeader) -> Iterator[int]:
    """Where the first trace may begin, as declared first."""
    if binary.revision >= (2, 0) and FILE_HEADER_BYTES <= binary.first_trace_byte < size:
        yield binary.first_trace_byte
    if binary.n_text > 0:
        yield FILE_HEADER_BYTES + TEXT_BYTES * binary.n_text
    elif binary.n_text < 0:
        yield _after_end_text(path)
    yield FILE_HEADER_BYTES


def _after_end_text(path: Path) -> int:
    """Where the extended text headers end that are closed by ((SEG: EndText))."""
    with _opened(path) as file:
        file.seek(FILE_HEADER_BYTES)
        for n in range(1, 1000):
            stanza = file.read(TEXT_BYTES)
            if any(
                "((SEG:ENDTEXT))" in "".join(stanza.decode(c, "replace").upper().split()) for c in ("cp037", "ascii")
            ):
                return FILE_HEADER_BYTES + TEXT_BYTES * n
            if len(stanza) < TEXT_BYTES:
                break
    return FILE_HEADER_BYTES


def _count_traces(path: Path, size: int, binary: BinaryHeader, guess: _Guess) -> tuple[int, tuple[str, ...]]:
    """How many whole traces account for the file, or 0; and what is to be said about bytes after them."""
    trace_bytes = _trace_bytes(binary, guess)
    n_traces, rest = divmod(size - guess.first_byte, trace_bytes)
    if n_traces < 1:
        return 0, ()
    if binary.revision >= (2, 0) and binary.n_traces:
        return (binary.n_traces if binary.n_traces <= n_traces else 0), ()
    if rest == 0 and binary.n_trailers == 0:
        return n_traces, ()
    if binary.revision >= (2, 1) and (stanzas := _trailers(path, size, trace_bytes, guess.first_byte)):
        return (size - guess.first_byte - stanzas * TEXT_BYTES) // trace_bytes, ()
    if rest == 0:
        return n_traces, ()
    if _is_padding(path, rest, trace_bytes):
        return n_traces, (f"The file ends with {rest:,} zero bytes after its last trace, which are left out.",)
    return 0, ()


def _trailers(path: Path, size: int, trace_bytes: int, first_byte: int) -> int:
    """How many 3200-byte stanzas of a data trailer (rev 2.1) follow the last trace."""
    with _opened(path) as file:
        for n in range(1, min(1000, (size - first_byte) // TEXT_BYTES)):
            file.seek(size - n * TEXT_BYTES)
            begins = file.read(2) in (b"((", "((".encode("cp037"))
            if begins and (size - first_byte - n * TEXT_BYTES) % trace_bytes == 0:
                return n
    return 0


def _is_padding(path: Path, rest: int, trace_bytes: int) -> bool:
    """Whether the file ends in `rest` zeros where the trace before has none: some writers fill up their last block."""
    with _opened(path) as file:
        file.seek(-rest - trace_bytes, 2)
        before = file.read(trace_bytes)[: min(rest, TRACE_HEADER_BYTES)]
        file.seek(-rest, 2)
        return any(before) and not any(file.read(rest))


def _headers_agree(file: SegyFile) -> bool:
    """Whether what should be trace headers look alike, as they do: most of their bytes are the same in each."""
    headers = file.headers(spread(file.n_traces, 16))
    if file.n_traces == 1:
        return int(file.column(headers, SAMPLES)[0]) == file.n_samples
    return bool(np.mean(headers[1:] == headers[0]) > 0.8)


def _of_width(width: int) -> NumberFormat:
    """The likeliest format of this width, to be judged by its samples."""
    return next(FORMATS[code] for code in (5, 3, 8, 6, 7) if FORMATS[code].width == width)


def _corrections(file: SegyFile, declared: _Guess) -> Iterator[str]:
    """What the headers say that the file's size contradicts."""
    if file.n_samples != declared.n_samples:
        yield (
            f"The binary header says {declared.n_samples:,} samples per trace, but the traces have {file.n_samples:,}."
        )
    if file.first_byte != declared.first_byte:
        yield f"The headers place the first trace at byte {declared.first_byte:,}; it is at byte {file.first_byte:,}."


def _misfit(path: Path, size: int, head: bytes, binary: BinaryHeader, declared: _Guess) -> SurveyError:
    """The sentence for a file whose size no reading of its headers explains."""
    lengths = _varying_lengths(path, size, binary, declared)
    if lengths:
        return SurveyError(
            f"{path} has traces of different lengths, from {lengths[0]:,} to {lengths[1]:,} samples: "
            "rewrite it with traces of one length."
        )
    if not _is_text(head[:TEXT_BYTES]):
        return SurveyError(f"{path} is not a SEG-Y file: neither its text nor its length is one's.")
    return _truncated(path, size, binary, declared)


def _truncated(path: Path, size: int, binary: BinaryHeader, guess: _Guess) -> SurveyError:
    whole, rest = divmod(max(0, size - guess.first_byte), _trace_bytes(binary, guess))
    promised = f" of {binary.n_traces:,}" if binary.revision >= (2, 0) and binary.n_traces > whole else ""
    where = f"in the middle of trace {whole + 1:,}{promised}" if rest else f"after trace {whole:,}{promised}"
    return SurveyError(
        f"{path} is cut short: it ends {where} ({guess.n_samples:,} samples each, by its headers). "
        "Copy it again from its source."
    )


def _varying_lengths(path: Path, size: int, binary: BinaryHeader, guess: _Guess) -> tuple[int, int] | None:
    """The shortest and longest trace, if following each trace's own sample count ends where the file ends."""
    lengths: set[int] = set()
    at = guess.first_byte
    with _opened(path) as file:
        while at < size:
            file.seek(at)
            header = file.read(TRACE_HEADER_BYTES)
            if len(header) < TRACE_HEADER_BYTES:
                return None
            n_samples = struct.unpack_from(binary.byte_order + "H", header, SAMPLES.byte - 1)[0]
            if n_samples == 0:
                return None
            lengths.add(n_samples)
            at += TRACE_HEADER_BYTES * (1 + binary.n_extensions) + guess.width * n_samples
    return (min(lengths), max(lengths)) if at == size and len(lengths) > 1 else None


def _believe_or_judge(file: SegyFile) -> SegyFile:
    """The file, its number format corrected where its samples contradict the header."""
    declared = FORMATS.get(file.binary.code)
    n = min(64, max(4, 8 * BLOCK_BYTES // file.trace_bytes))
    raw = file.sample_bytes(spread(file.n_traces, n))
    verdict = judge(raw, Reading(file.number_format, file.sample_order))
    judged = replace(file, number_format=verdict.number_format, sample_order=verdict.byte_order)
    said = declared.name if declared else f"nothing that is a number format ({file.binary.code})"
    swapped = verdict.byte_order != file.byte_order
    if verdict.number_format == declared and not swapped:
        return file
    order = (" in " + ("little" if verdict.byte_order == "<" else "big") + "-endian order") if swapped else ""
    lie = f"The header says {said}, but the samples are {verdict.number_format.name}{order} and are read so."
    return replace(judged, warnings=(lie, *file.warnings))
