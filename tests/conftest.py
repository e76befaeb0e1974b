"""Tiny SEG-Y files, written byte by byte without the package's help, and the real data beside the repository."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data; tests that use it are skipped where it is absent, and marked `shared`."""
    folder = (ROOT / "../shared").resolve()
    if not (folder / "segy").is_dir():
        pytest.skip("the real data is not there: no ../shared beside the repository")
    return folder


def ibm(value: float) -> int:
    """A System/360 float as its 32 bits, by the book."""
    if value == 0:
        return 0
    fraction, exponent = math.frexp(abs(value))
    sixteens = -(-exponent // 4)
    mantissa = round(fraction * 2.0 ** (exponent - 4 * sixteens) * 2**24)
    if mantissa == 2**24:
        mantissa, sixteens = 2**20, sixteens + 1
    return (int(value < 0) << 31) | ((sixteens + 64) << 24) | mantissa


def encode(value: float, code: int, order: str) -> bytes:
    """One sample in a SEG-Y number format."""
    if code == 1:
        return struct.pack(order + "I", ibm(value))
    if code in (7, 15):
        return int(value).to_bytes(3, "big" if order == ">" else "little", signed=code == 7)
    letter = {2: "i", 3: "h", 5: "f", 6: "d", 8: "b", 9: "q", 10: "I", 11: "H", 12: "Q", 16: "B"}[code]
    return struct.pack(order + letter, float(value) if code in (5, 6) else int(value))


def grid(inlines: Sequence[int], crosslines: Sequence[int], by: str = "inline") -> list[tuple[int, int]]:
    """All positions of a survey in file order."""
    if by == "inline":
        return [(i, x) for i in inlines for x in crosslines]
    return [(i, x) for x in crosslines for i in inlines]


def reflections(n_traces: int, n_samples: int, seed: int = 0) -> np.ndarray:
    """Band-limited noise, `[trace, sample]`, whole numbers up to ±100: every signed format holds it exactly."""
    noise = np.random.default_rng(seed).standard_normal((n_traces, n_samples + 8))
    wavelet = np.array([-1, 0, 2, 4, 5, 4, 2, 0, -1]) / 8
    smooth = np.stack([np.convolve(row, wavelet, "valid") for row in noise])
    return np.round(smooth / np.abs(smooth).max() * 100)


def segy_bytes(
    positions: Sequence[tuple[int, int]],
    samples: Any,  # [trace, sample]
    *,
    code: int = 5,
    order: str = ">",
    interval_us: int = 4000,
    says: Mapping[int, tuple[str, Any]] | None = None,
    traces_say: Mapping[int, tuple[str, Sequence[Any]]] | None = None,
    written_as: int | None = None,
    sample_order: str | None = None,
    line_bytes: tuple[int, int] = (189, 193),
    text: bytes = ("C 1 A TINY SURVEY".ljust(3200)).encode("cp037"),
    extended: Sequence[bytes] = (),
    between: bytes = b"",
    extension: bytes = b"",
    after: bytes = b"",
) -> bytes:
    """A SEG-Y file.

    says: more of the binary header, by byte position, as struct letter and value; traces_say: likewise of the trace
    headers, one value per trace. written_as and sample_order: the samples' real format, where the header lies.
    extended: text headers; between: bytes before the first trace; extension: each trace's additional headers.
    """
    samples = np.asarray(samples)
    binary = bytearray(400)

    def put(header: bytearray, byte: int, letter: str, value: Any) -> None:
        struct.pack_into(order + letter, header, byte - 1, value)

    put(binary, 17, "h", interval_us)
    put(binary, 21, "H", samples.shape[1] & 0xFFFF)
    put(binary, 25, "h", code)
    if extended:
        put(binary, 305, "h", len(extended))
    for byte, (letter, value) in (says or {}).items():
        put(binary, byte - 3200, letter, value)
    parts = [text.ljust(3200, b"\x40"), bytes(binary), *extended, between]
    for n, (inline, crossline) in enumerate(positions):
        header = bytearray(240)
        put(header, line_bytes[0], "i", inline)
        put(header, line_bytes[1], "i", crossline)
        for byte, (letter, values) in (traces_say or {}).items():
            put(header, byte, letter, values[n])
        parts += [bytes(header), extension]
        parts += [encode(v, written_as or code, sample_order or order) for v in samples[n].tolist()]
    return b"".join([*parts, after])


@pytest.fixture
def build_segy(tmp_path: Path) -> Callable[..., Path]:
    """Writes `segy_bytes(...)` to a file in tmp_path, cube.sgy unless named, and returns its path."""

    def build(*arguments: Any, name: str = "cube.sgy", **options: Any) -> Path:
        path = tmp_path / name
        path.write_bytes(segy_bytes(*arguments, **options))
        return path

    return build
