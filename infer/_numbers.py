"""The number formats of SEG-Y samples: how each is decoded, and which one the samples themselves betray."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

ByteOrder = Literal[">", "<"]
Kind = Literal["ibm", "float", "signed", "unsigned"]

ENOUGH = 400
"""So many non-zero samples it takes to contradict a header,"""
ENOUGH_DIFFERENT = 64
"""and so many different ones."""


@dataclass(frozen=True)
class NumberFormat:
    """One code of bytes 3225-3226 (SEG-Y rev 2.1, table 2)."""

    code: int
    name: str
    width: int  # bytes per sample
    kind: Kind

    def decode(self, raw: NDArray[np.uint8], byte_order: ByteOrder) -> NDArray[np.float32]:
        """Sample bytes `[trace, byte]` as amplitudes `[trace, sample]`, C-contiguous float32.

        What float32 cannot hold becomes infinite, to be silenced like any other infinity.
        """
        if self.kind == "ibm":
            return _decode_ibm(words(raw, "unsigned", 4, byte_order))
        with np.errstate(over="ignore", invalid="ignore"):
            return np.array(words(raw, self.kind, self.width, byte_order), np.float32, order="C")


FORMATS = {
    f.code: f
    for f in (
        NumberFormat(1, "32-bit IBM float", 4, "ibm"),
        NumberFormat(2, "32-bit signed integer", 4, "signed"),
        NumberFormat(3, "16-bit signed integer", 2, "signed"),
        NumberFormat(5, "32-bit IEEE float", 4, "float"),
        NumberFormat(6, "64-bit IEEE float", 8, "float"),
        NumberFormat(7, "24-bit signed integer", 3, "signed"),
        NumberFormat(8, "8-bit signed integer", 1, "signed"),
        NumberFormat(9, "64-bit signed integer", 8, "signed"),
        NumberFormat(10, "32-bit unsigned integer", 4, "unsigned"),
        NumberFormat(11, "16-bit unsigned integer", 2, "unsigned"),
        NumberFormat(12, "64-bit unsigned integer", 8, "unsigned"),
        NumberFormat(15, "24-bit unsigned integer", 3, "unsigned"),
        NumberFormat(16, "8-bit unsigned integer", 1, "unsigned"),
    )
}
FIXED_POINT_WITH_GAIN = 4


def words(raw: NDArray[np.uint8], kind: Kind, width: int, byte_order: ByteOrder) -> NDArray[Any]:
    """Bytes `[trace, byte]` as the integers or IEEE floats they hold, `[trace, sample]`, in either byte order."""
    if width == 3:
        return _decode_24_bit(raw, kind, byte_order)
    letter = {"signed": "i", "unsigned": "u", "float": "f", "ibm": "u"}[kind]
    return raw.view(f"{byte_order}{letter}{width}")


def _decode_24_bit(raw: NDArray[np.uint8], kind: Kind, byte_order: ByteOrder) -> NDArray[np.int32]:
    parts = raw.reshape(raw.shape[0], -1, 3).astype(np.int32)
    high, middle, low = (parts[..., i] for i in ((0, 1, 2) if byte_order == ">" else (2, 1, 0)))
    value: NDArray[np.int32] = high << 16 | middle << 8 | low
    return value - ((high >> 7) << 24) if kind == "signed" else value


def _decode_ibm(word: NDArray[np.uint32]) -> NDArray[np.float32]:
    """System/360 floats: a sign, a power of 16 in excess of 64, a fraction of 24 bits."""
    exponent = (word >> np.uint32(24)).astype(np.intp)  # the sign bit rides along, as the table's upper half
    fraction = (word & np.uint32(0x00FFFFFF)).astype(np.float64)
    fraction *= _IBM_POWERS[exponent]
    with np.errstate(over="ignore"):
        return fraction.astype(np.float32)


_IBM_POWERS = np.concatenate([16.0 ** np.arange(-70.0, 58.0), -(16.0 ** np.arange(-70.0, 58.0))])


# What the samples themselves say. A header is believed unless its samples are impossible, or next to it; only then is
# another reading of the same bytes looked for, and it must be convincing.


@dataclass(frozen=True)
class Reading:
    """One way of reading the sample bytes of a file."""

    number_format: NumberFormat
    byte_order: ByteOrder


def judge(raw: NDArray[np.uint8], header: Reading) -> Reading:
    """How the samples `[trace, byte]` are to be read: as the header says, unless they contradict it.

    `raw` should be some dozens of traces spread over the file; without `ENOUGH` samples the header stands.
    """
    raw = raw[_varying(raw)]
    if raw.size == 0 or _plausible(raw, header):
        return header
    return next((r for r in _rivals(header) if _convincing(raw, r, header)), header)


def _varying(raw: NDArray[np.uint8]) -> NDArray[np.bool_]:
    varying: NDArray[np.bool_] = (raw != raw[:, :1]).any(axis=1)
    return varying


def _rivals(header: Reading) -> Iterator[Reading]:
    """The other readings of as many bytes, the likeliest lies first."""
    other: ByteOrder = "<" if header.byte_order == ">" else ">"
    codes = sorted((f for f in FORMATS.values() if f.width == header.number_format.width), key=_rarity)
    for order in (header.byte_order, other):
        yield from (r for f in codes if (r := Reading(f, order)) != header)


def _rarity(number_format: NumberFormat) -> int:
    return ("float", "ibm", "signed", "unsigned").index(number_format.kind)


def _plausible(raw: NDArray[np.uint8], reading: Reading) -> bool:
    kind, width = reading.number_format.kind, reading.number_format.width
    if not _enough(raw, width):
        return True
    if kind == "ibm":
        return _ibm_is_normalised(raw, reading.byte_order) and _like_amplitudes(raw, reading)
    if kind == "float":
        looks_ibm = width == 4 and _has_ibm_gaps(raw, reading.byte_order)
        return _like_amplitudes(raw, reading) and not looks_ibm
    return not (width >= 4 and _integers_are_floats(raw, reading)) and _calm(raw, reading)


def _convincing(raw: NDArray[np.uint8], rival: Reading, header: Reading) -> bool:
    if not _plausible(raw, rival):
        return False
    amplitude = rival.number_format.decode(raw, rival.byte_order)
    with np.errstate(invalid="ignore"):
        if not np.isfinite(amplitude).all():
            return False
    return header.number_format.width == 1 or _continuity(amplitude) > 0.3


def _enough(raw: NDArray[np.uint8], width: int) -> bool:
    """Whether there are samples enough to contradict anyone."""
    pieces = np.ascontiguousarray(raw).reshape(-1, width)[:200_000]
    pieces = pieces[pieces.any(axis=1)]
    return len(pieces) >= ENOUGH and len(np.unique(pieces.view(f"V{width}"))) >= ENOUGH_DIFFERENT


def _ibm_is_normalised(raw: NDArray[np.uint8], byte_order: ByteOrder) -> bool:
    """IBM fractions begin with a hexadecimal digit other than 0; of IEEE floats read so, one in sixteen does not."""
    word = words(raw, "unsigned", 4, byte_order)
    word = word[(word & 0x00FFFFFF) != 0]
    return bool(word.size == 0 or np.mean((word & 0x00F00000) == 0) < 0.01)


def _has_ibm_gaps(raw: NDArray[np.uint8], byte_order: ByteOrder) -> bool:
    """IEEE floats below and above, yet never in, 2^k to 1.125·2^k for any odd k: normalised IBM floats leave that out.

    The words on either side must be many enough for the gap to be no accident of few levels.
    """
    word = words(raw, "unsigned", 4, byte_order)
    word = np.unique(word & 0x7FFFFFFF)
    word = word[word != 0]
    if np.any((word & 0x00F00000) == 0):
        return False
    # Different words per 16th of an exponent byte: [exponent byte, first hexadecimal digit].
    counts = np.bincount((word >> 20).astype(np.intp), minlength=2048).reshape(128, 16)
    return bool(np.any((counts[:-1, 15] >= 4) & (counts[1:, 1] >= 8)))


def _like_amplitudes(raw: NDArray[np.uint8], reading: Reading) -> bool:
    """Whether non-zero floats have magnitudes that measurements have: neither absurd nor spread over all exponents."""
    value = words(raw, "float", reading.number_format.width, reading.byte_order)
    if reading.number_format.kind == "ibm":
        value = reading.number_format.decode(raw, reading.byte_order)
    with np.errstate(invalid="ignore"):
        magnitude = np.abs(value[np.isfinite(value) & (value != 0)].astype(np.float64))
    if magnitude.size < ENOUGH // 4:
        return False
    low, middle, high = np.log2(np.percentile(magnitude, [10, 50, 90]))
    return bool(-100 < middle < 90 and high - low < 60)


def _integers_are_floats(raw: NDArray[np.uint8], reading: Reading) -> bool:
    """Floats read as integers keep away from zero: their exponents fill the top bits."""
    width = reading.number_format.width
    value = words(raw, "signed", width, reading.byte_order)
    value = value[(value != 0) & (value != np.iinfo(value.dtype).min)].astype(np.float64)
    floor = 2.0 ** (8 * width - 5)
    as_float = Reading(next(f for f in FORMATS.values() if f.width == width and f.kind == "float"), reading.byte_order)
    return bool(value.size and np.mean(np.abs(value) < floor) < 0.01) and _like_amplitudes(raw, as_float)


def _calm(raw: NDArray[np.uint8], reading: Reading) -> bool:
    """Whether integers run on as samples do: wrapped ones jump from end to end, swapped ones jump anywhere."""
    own, order = reading.number_format, reading.byte_order
    twin = next(f for f in FORMATS.values() if f.width == own.width and f.kind in ("signed", "unsigned") and f != own)
    if _jumps(raw, own, order) > 4 * _jumps(raw, twin, order):
        return False
    swapped = own.decode(raw, "<" if order == ">" else ">")
    return not (_continuity(own.decode(raw, order)) < 0.1 and _continuity(swapped) > 0.5)


def _jumps(raw: NDArray[np.uint8], number_format: NumberFormat, byte_order: ByteOrder) -> float:
    value = number_format.decode(raw, byte_order)
    return float(np.mean(np.abs(np.diff(value, axis=1)))) if value.shape[1] > 1 else 0.0


def _continuity(amplitude: NDArray[np.float32]) -> float:
    """The correlation of samples with their successors: seismic has some, bytes read wrongly have none."""
    if amplitude.shape[1] < 3:
        return 0.0
    value = amplitude.astype(np.float64)
    value -= value.mean()
    # Ranks resist the few giants that a wrong exponent makes; signs are ranks enough.
    before, after = np.sign(value[:, :-1]).ravel(), np.sign(value[:, 1:]).ravel()
    norm = np.sqrt(np.sum(before**2) * np.sum(after**2))
    return float(np.sum(before * after) / norm) if norm else 0.0
