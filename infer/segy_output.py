"""SEG-Y as the source has it with other samples: every header byte kept but those that speak of the samples."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infer._numbers import ByteOrder
from infer._segy import revision_of

# Of the binary header, counted from 1 as the standard does; the last three came with rev 2.
_SAMPLES_BYTE, _FORMAT_BYTE, _REVISION_BYTE = 3221, 3225, 3501
_EXTENDED_SAMPLES_BYTE, _TRACES_BYTE, _TRAILERS_BYTE = 3269, 3513, 3529

_CODES: dict[np.dtype[Any], int] = {np.dtype(np.int8): 8, np.dtype(np.float32): 5}
"""SEG-Y formats: 8-bit integers, IEEE floats."""


def file_header(preamble: bytes, byte_order: ByteOrder, dtype: np.dtype[Any], n_traces: int, n_samples: int) -> bytes:
    """The source's own file header, with what differs: number format, counts, no trailer."""
    header = bytearray(preamble)

    def put(byte: int, letter: str, number: int) -> None:
        struct.pack_into(byte_order + letter, header, byte - 1, number)

    put(_FORMAT_BYTE, "h", _CODES[dtype])
    if n_samples <= 0xFFFF:  # a survey whose header lies about it is no reason to go on lying
        put(_SAMPLES_BYTE, "H", n_samples)
    if revision_of(*header[_REVISION_BYTE - 1 : _REVISION_BYTE + 1]) >= (2, 0):
        if struct.unpack_from(byte_order + "i", header, _EXTENDED_SAMPLES_BYTE - 1)[0] > 0:
            put(_EXTENDED_SAMPLES_BYTE, "i", n_samples)
        put(_TRACES_BYTE, "Q", n_traces)
        put(_TRAILERS_BYTE, "i", 0)
    return bytes(header)


def trace_rows(
    headers: NDArray[np.uint8],  # [trace, byte]
    samples: NDArray[Any],  # [trace, sample]
    byte_order: ByteOrder,
) -> NDArray[np.uint8]:
    """Whole traces `[trace, byte]`: headers and samples, in the file's byte order."""
    content = np.ascontiguousarray(samples, samples.dtype.newbyteorder(byte_order))
    header_bytes = headers.shape[1]
    rows = np.empty((len(content), header_bytes + content.shape[1] * content.itemsize), np.uint8)
    rows[:, :header_bytes] = headers
    rows[:, header_bytes:] = content.view(np.uint8)
    return rows
