"""Picks as rows of text: MalenoV's labels of all facies in one file, or one point file a facies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infer.errors import InferError
from infer.facies import FACIES_NAMES
from infer.section import LineKind

POINTS_SUFFIX = ".pts"


class PicksError(InferError, ValueError):
    """Picks that cannot be read, or that cannot be placed on the survey."""


@dataclass(frozen=True, eq=False)
class Picks:
    """Labelled places, one a row of the file, duplicates and all."""

    source: str  # the file's name
    inline: NDArray[np.int32]  # [pick], header numbers
    crossline: NDArray[np.int32]  # [pick]
    twt_ms: NDArray[np.float64]  # [pick]
    facies: NDArray[np.int8]  # [pick], positions in FACIES_NAMES
    amplitude: NDArray[np.float64] | None = None  # [pick], where the file tells it; NaN where it does not

    def lines(self) -> set[tuple[LineKind, int]]:
        """Every line that all picks are on: one, none, or both lines through a single trace."""
        inlines, crosslines = np.unique(self.inline), np.unique(self.crossline)
        lines: set[tuple[LineKind, int]] = set()
        if inlines.size == 1:
            lines.add(("inline", int(inlines[0])))
        if crosslines.size == 1:
            lines.add(("crossline", int(crosslines[0])))
        return lines

    def line(self) -> tuple[LineKind, int]:
        """The one line that all picks are on; the inline where it could be either.

        Raises PicksError: they are on several.
        """
        lines = self.lines()
        if not lines:
            raise PicksError(
                f"{self.source} has picks on {np.unique(self.inline).size:,} inlines and "
                f"{np.unique(self.crossline).size:,} crosslines: all of them must be on one inline or on one crossline."
            )
        return max(lines)  # by the alphabet


def join(parts: Sequence[Picks]) -> Picks:
    """The picks of several files as one.

    An amplitude is NaN where a file tells none.
    """
    amplitudes = [np.full(p.facies.size, np.nan) if p.amplitude is None else p.amplitude for p in parts]
    return Picks(
        ", ".join(p.source for p in parts) if len(parts) <= 3 else f"{len(parts)} files",
        np.concatenate([p.inline for p in parts]),
        np.concatenate([p.crossline for p in parts]),
        np.concatenate([p.twt_ms for p in parts]),
        np.concatenate([p.facies for p in parts]),
        None if all(p.amplitude is None for p in parts) else np.concatenate(amplitudes),
    )


def read_picks(path: Path) -> Picks:
    """The picks in a text file: a row a pick, separated by white space.

    `.pts`: `inline crossline twt_ms`, perhaps an amplitude too; the facies is in the file's name. Any other suffix:
    MalenoV's `inline crossline twt_ms facies`. Blank rows, and whatever follows a `#`, are skipped.

    Raises PicksError: there is no such file, it holds no picks, a row is not a pick (with its number), or a `.pts`
    file's name says no facies.
    """
    points = path.suffix.lower() == POINTS_SUFFIX
    facies_of_all = facies_in_name(path) if points else 0
    values = _values(path, _POINTS if points else _LABELS)
    inline, crossline = values[:, 0].astype(np.int32), values[:, 1].astype(np.int32)
    twt_ms, last = values[:, 2].copy(), values[:, -1].copy()
    if not points:
        return Picks(path.name, inline, crossline, twt_ms, last.astype(np.int8))
    facies = np.full(len(values), facies_of_all, np.int8)
    return Picks(path.name, inline, crossline, twt_ms, facies, last if values.shape[1] == 4 else None)


def facies_in_name(path: Path) -> int:
    """The facies of a point file: the longest name that the file's begins with.

    >>> facies_in_name(Path("low_amp_dips_inline339.pts"))
    4

    Raises PicksError: it begins with none, or the words of another facies follow.
    """
    stem = path.stem.lower()
    begun = [name for name in FACIES_NAMES if re.match(rf"{name}(?![a-z])", stem)]
    facies = max(begun, key=len, default="")
    # high_amplitude_continuous: a slip of the pen for high_amp_continuous, and nobody should train on a guess.
    others = {word for name in FACIES_NAMES for word in name.split("_")} & set(re.split("[^a-z]+", stem[len(facies) :]))
    if not facies or others:
        raise PicksError(
            f"{path.name} does not say which facies its picks are: the name of a {POINTS_SUFFIX} file begins with that "
            f"of its facies and has no words of another's. The facies are {', '.join(FACIES_NAMES)}."
        )
    return FACIES_NAMES.index(facies)


@dataclass(frozen=True)
class _Form:
    """What a row of numbers is."""

    columns: str
    widths: tuple[int, ...]
    ends_in_facies: bool

    def are_places(self, values: NDArray[np.float64]) -> bool:
        """Whether rows have that many finite numbers, the first two whole."""
        if values.shape[1] not in self.widths or not np.isfinite(values).all():
            return False
        numbers = values[:, :2]
        return bool((numbers == np.rint(numbers)).all() and (np.abs(numbers) < 2**31).all())

    def are_picks(self, values: NDArray[np.float64]) -> bool:
        """Whether rows are places, and facies of the table."""
        if not self.are_places(values) or not self.ends_in_facies:
            return self.are_places(values)
        facies = values[:, -1]
        return bool(((facies == np.rint(facies)) & (facies >= 0) & (facies < len(FACIES_NAMES))).all())


_LABELS = _Form("inline crossline twt_ms facies", (4,), ends_in_facies=True)
_POINTS = _Form("inline crossline twt_ms [amplitude]", (3, 4), ends_in_facies=False)


def _values(path: Path, form: _Form) -> NDArray[np.float64]:
    """The rows of a file as `[pick, column]`."""
    rows = read_rows(path, "picks file")
    if not any(_content(row) for row in rows):
        raise PicksError(f"{path.name} holds no picks. Each row of a picks file is `{form.columns}`.")
    try:
        values = np.loadtxt(rows, np.float64, ndmin=2)
    except ValueError:
        values = np.empty((0, 0))
    if not form.are_picks(values):
        raise PicksError(_first_fault(path.name, rows, form))
    return values


def read_rows(path: Path, what: str) -> list[str]:
    """The rows of a text file.

    Raises PicksError: there is no such file, called a `what`, or it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except FileNotFoundError as error:
        raise PicksError(f"There is no {what} at {path}.") from error
    except OSError as error:
        raise PicksError(f"{path} cannot be read: {error.strerror}.") from error
    if "\0" in text:
        raise PicksError(f"{path.name} is no text in UTF-8, but perhaps in UTF-16: save it in UTF-8.")
    return text.split("\n")


def _content(row: str) -> str:
    return row.partition("#")[0].strip()


def _first_fault(source: str, rows: list[str], form: _Form) -> str:
    """The sentence about the first row that is not a pick. Slow, and only looked for when there is one."""
    width = 0
    for number, row in enumerate(rows, 1):
        content = _content(row)
        if not content:
            continue
        try:
            values = np.array([float(word) for word in content.split()], ndmin=2)
        except ValueError:
            values = np.empty((1, 0))
        width = width or values.shape[1]
        if form.are_picks(values) and values.shape[1] == width:
            continue
        if form.ends_in_facies and form.are_places(values):
            return _no_facies(f"Row {number} of {source}", content.split()[-1])
        found = f"expected `{form.columns}`, found `{shortened(content)}`.{_hint(content)}"
        return f"Row {number} of {source} is not a pick: {found}"
    return f"{source} cannot be read as picks. Each row of a picks file is `{form.columns}`."


def _hint(content: str) -> str:
    separators = " Columns are parted by white space, and decimals by a point." if re.search("[,;]", content) else ""
    names = "" if re.search("[0-9]", content) else " A row that names the columns has to begin with a #."
    return separators + names


def _no_facies(row: str, found: str) -> str:
    last = len(FACIES_NAMES) - 1
    return (
        f"{row} has facies {found}: facies are whole numbers from 0 ({FACIES_NAMES[0]}) to {last} "
        f"({FACIES_NAMES[last]})."
    )


def shortened(content: str) -> str:
    """As much of a row as fits into a sentence."""
    return content if len(content) <= 60 else content[:57] + "..."
