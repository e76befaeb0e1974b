"""Picks as a painted picture of one line: a pixel a sample, a colour a facies."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infer.errors import DependencyError
from infer.facies import FACIES, FACIES_NAMES
from infer.section import NO_DATA, LineKind, Section
from trainer.pick_files import Picks, PicksError, read_rows, shortened

PAINTING_SUFFIX, LEGEND_SUFFIX = ".png", ".legend"
BACKGROUND = "background"

_UNPAINTED = -1
_LINE_IN_NAME = re.compile(r"(inline|crossline)[ _-]?(-?\d+)(?!\d)", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Painting:
    """A painted picture of the line that its file is named after, and what its colours mean."""

    source: str  # the file's name
    kind: LineKind
    number: int
    colours: NDArray[np.int32]  # [row, column], 0xrrggbb; -1: fully transparent
    legend: Mapping[int, int]  # colour -> facies, NO_DATA for the background
    legend_name: str  # the legend's file, "" for the colours that this package draws in

    def lines(self) -> set[tuple[LineKind, int]]:
        """The one line, in the form of `Picks.lines`."""
        return {(self.kind, self.number)}

    def picks(self, section: Section) -> Picks:
        """A pick for each painted pixel: column = trace, row = sample. Nothing is turned, flipped or stretched.

        Raises PicksError: the picture has not as many pixels as the section has samples, a colour is not in the
        legend, or nothing is painted.
        """
        self._check_size(section)
        facies = self._facies()
        trace, sample = np.nonzero(facies.T != NO_DATA)
        if not trace.size:
            raise PicksError(f"{self.source} has nothing painted on it: all of it is transparent or background.")
        return Picks(
            self.source,
            section.inline[trace],
            section.crossline[trace],
            section.twt_ms[sample],
            facies[sample, trace],
        )

    def _check_size(self, section: Section) -> None:
        n_traces, n_samples = section.shape
        height, width = self.colours.shape
        if (width, height) == (n_traces, n_samples):
            return
        what_to_do = (
            f"Paint on a picture of {n_traces:,} x {n_samples:,} pixels, a pixel a sample, or bring this one to that "
            "size without smoothing (nearest neighbour) after cutting off axes and margins."
        )
        if (width, height) == (n_samples, n_traces):
            what_to_do = (
                "It seems to lie on its side: turn it so that traces go from left to right in ascending number, and "
                "time goes down."
            )
        raise PicksError(
            f"{self.source} is {width:,} pixels wide and {height:,} high, and {section.kind} {section.number} has "
            f"{n_traces:,} traces of {n_samples:,} samples. {what_to_do}"
        )

    def _facies(self) -> NDArray[np.int8]:
        """Facies `[row, column]`, NO_DATA where nothing is painted."""
        colours, place, pixels = np.unique(self.colours, return_inverse=True, return_counts=True)
        meaning = {_UNPAINTED: NO_DATA, **self.legend}
        unknown = np.array([colour not in meaning for colour in colours.tolist()])
        if unknown.any():
            raise PicksError(self._unknown(colours[unknown], pixels[unknown]))
        facies = np.array([meaning[colour] for colour in colours.tolist()], np.int8)
        return facies[place.reshape(self.colours.shape)]

    def _unknown(self, colours: NDArray[np.int32], pixels: NDArray[np.int64]) -> str:
        order = np.argsort(-pixels, kind="stable")[:3]
        commonest = ", ".join(
            f"#{colours[k]:06x} ({pixels[k]:,} {'pixel' if pixels[k] == 1 else 'pixels'})" for k in order
        )
        n = len(colours)
        own = f"among the facies' own colours (it has no {Path(self.source).stem}{LEGEND_SUFFIX})"
        there = f"in {self.legend_name}" if self.legend_name else own
        return (
            f"{self.source} has {n:,} {'colour that is' if n == 1 else 'colours that are'} not {there}"
            f"{': ' if n <= len(order) else '; the commonest: '}{commonest}. Say in a legend what each colour is, in "
            f"rows `#rrggbb facies` or `#rrggbb {BACKGROUND}`; if they are mixtures at the edges, paint with a hard "
            "brush."
        )


def is_painting(path: Path) -> bool:
    """Whether a file of a folder is a painted line: a .png whose name begins with `inline_339` or `crossline_500`."""
    return path.suffix.lower() == PAINTING_SUFFIX and _LINE_IN_NAME.match(path.stem) is not None


def read_painting(path: Path, legend: Path | None = None) -> Painting:
    """The painted picture in a .png file. Its legend: the one given, else the .legend of the same name, else FACIES.

    Raises PicksError: there is no such file, it is no .png, its name says no line, or its legend cannot be read.
    DependencyError: Matplotlib is not installed.
    """
    line = _LINE_IN_NAME.match(path.stem)
    if line is None:
        raise PicksError(
            f"{path.name} does not say which line it is a picture of: its name has to begin with that, as in "
            "inline_339.png or crossline_500.png."
        )
    kind: LineKind = "inline" if line[1].lower() == "inline" else "crossline"
    legend = legend_of(path, legend)
    meaning = _own_colours() if legend is None else read_legend(legend)
    return Painting(path.name, kind, int(line[2]), _read_colours(path), meaning, legend.name if legend else "")


def legend_of(painting: Path, given: Path | None = None) -> Path | None:
    """The file that says what a picture's colours are: the one given, else the one beside it, if there is one."""
    beside = painting.with_suffix(LEGEND_SUFFIX)
    return given or (beside if beside.is_file() else None)


def read_legend(path: Path) -> dict[int, int]:
    """Facies by colour (0xrrggbb), NO_DATA for the background, from rows `#rrggbb facies` or `#rrggbb background`.

    Raises PicksError: it cannot be read, holds no colours, or a row is not of that form or contradicts an earlier one.
    """
    meaning: dict[int, int] = {}
    for number, row in enumerate(read_rows(path, "legend"), 1):
        words = row.split()
        if not words or words[0] == "#":  # a comment
            continue
        where = f"Row {number} of {path.name}"
        colour, facies = _legend_row(where, row.strip(), words)
        if meaning.setdefault(colour, facies) != facies:
            raise PicksError(f"{where} says of #{colour:06x} something else than an earlier row.")
    if not meaning:
        raise PicksError(f"{path.name} holds no colours. Each row of a legend is `#rrggbb facies`.")
    return meaning


def _legend_row(where: str, row: str, words: list[str]) -> tuple[int, int]:
    if len(words) != 2 or not re.fullmatch("#[0-9a-fA-F]{6}", words[0]):
        raise PicksError(
            f"{where} is not a colour and a facies: expected `#rrggbb facies` or `#rrggbb {BACKGROUND}`, found "
            f"`{shortened(row)}`."
        )
    name = words[1].lower()
    if name not in (*FACIES_NAMES, BACKGROUND):
        raise PicksError(
            f"{where} has the facies {words[1]}, and there are {', '.join(FACIES_NAMES)}; or {BACKGROUND}, for what is "
            "not labelled."
        )
    return int(words[0][1:], 16), NO_DATA if name == BACKGROUND else FACIES_NAMES.index(name)


def _own_colours() -> dict[int, int]:
    return {int(colour[1:], 16): facies for facies, colour in enumerate(FACIES.values())}


def _read_colours(path: Path) -> NDArray[np.int32]:
    """A .png as 0xrrggbb `[row, column]`, -1 where it is fully transparent. Half-transparent paint is paint."""
    try:
        from matplotlib.image import imread
        from PIL.Image import DecompressionBombError
    except ImportError as error:
        raise DependencyError(
            'A painted picture is read with matplotlib, which is not installed: pip install "facies-edge[plot]"'
        ) from error
    try:
        picture = np.rint(imread(path, "png") * 255).astype(np.int32)  # [row, column] or [row, column, part]
    except FileNotFoundError as error:
        raise PicksError(f"There is no picture at {path}.") from error
    except (OSError, ValueError, SyntaxError, DecompressionBombError) as error:
        raise PicksError(f"{path} cannot be read as a .png picture: save the painted picture as one.") from error
    if picture.ndim == 2:
        picture = np.stack([picture] * 3, axis=-1)
    red, green, blue = picture[..., 0], picture[..., 1], picture[..., 2]
    colours = (red << 16) | (green << 8) | blue
    return colours if picture.shape[-1] == 3 else np.where(picture[..., 3] == 0, _UNPAINTED, colours).astype(np.int32)
