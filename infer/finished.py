"""A finished cube of facies: any line or time of it, without computing anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infer.card import ModelCard
from infer.errors import DependencyError, LineNotFoundError, OptionError, SurveyError
from infer.facies import FACIES_COLOURS, FACIES_NAMES
from infer.section import NO_DATA, LineKind
from infer.survey import Survey, open_survey

_OF_A_PART = np.r_[94:118, 214:216]
"""Of a trace header, what differs where only some times were classified: delay and other times, samples and their
interval, and the scalar of times."""


@dataclass(frozen=True, eq=False)
class FinishedCube:
    """What `infer cube` has written, a .sgy or a .zarr."""

    path: Path
    inline: NDArray[np.int32]  # [inline]
    crossline: NDArray[np.int32]  # [crossline]
    twt_ms: NDArray[np.float64]  # [sample]
    sample_interval_ms: float
    facies_names: tuple[str, ...]
    facies_colours: tuple[str, ...]
    model: str  # its name; empty where the file does not say it
    facies: Any  # of both kinds: [inline index, crossline index, sample index] -> int8, a zarr.Array or a _SegyFacies

    def line(self, kind: LineKind, number: int) -> NDArray[np.int8]:
        """The facies `[trace, sample]` of a line.

        Raises LineNotFoundError: it is not in the cube. SurveyError: what is there are no facies.
        """
        numbers = self.inline if kind == "inline" else self.crossline
        at = np.flatnonzero(numbers == number)
        if not at.size:
            raise LineNotFoundError(
                f"{self.path.name} has no {kind} {number}: its {kind}s run from {numbers[0]} to {numbers[-1]}."
            )
        return self._checked(self.facies[int(at[0])] if kind == "inline" else self.facies[:, int(at[0])])

    def at_time(self, twt_ms: float) -> tuple[NDArray[np.int8], float]:
        """The facies `[inline, crossline]` of the sample nearest to a time, and its time.

        Raises OptionError: the cube has no such time. SurveyError: what is there are no facies.
        """
        sample = int(np.abs(self.twt_ms - twt_ms).argmin())
        if not abs(self.twt_ms[sample] - twt_ms) <= self.sample_interval_ms / 2:
            raise OptionError(
                f"{self.path.name} has no sample at {twt_ms:g} ms: they run from {self.twt_ms[0]:g} to "
                f"{self.twt_ms[-1]:g} ms."
            )
        return self._checked(self.facies[:, :, sample]), float(self.twt_ms[sample])

    def _checked(self, facies: NDArray[np.int8]) -> NDArray[np.int8]:
        """Facies that have a name. Raises SurveyError: they are none, but amplitudes of 8 bits perhaps."""
        low, high = int(facies.min(initial=NO_DATA)), int(facies.max(initial=NO_DATA))
        if low < NO_DATA or high >= len(self.facies_names):
            raise SurveyError(
                f"{self.path.name} holds other numbers than the facies 0 to {len(self.facies_names) - 1}: here from "
                f"{low} to {high}. Where it is a cube of other facies, say with --model what made it."
            )
        return facies

    def check_source(self, survey: Survey) -> None:
        """Raise OptionError where a survey lacks lines or times of the cube: it is not the one that was classified."""
        slack_ms = max(survey.sample_interval_ms / 2, 0.5)  # a part's first time is in its headers in whole ms
        first = int(np.abs(survey.twt_ms - self.twt_ms[0]).argmin())
        twt_ms = survey.twt_ms[first : first + len(self.twt_ms)]
        there = {
            f"inlines from {self.inline[0]} to {self.inline[-1]}": np.isin(self.inline, survey.inlines.numbers()).all(),
            f"crosslines from {self.crossline[0]} to {self.crossline[-1]}": np.isin(
                self.crossline, survey.crosslines.numbers()
            ).all(),
            f"samples from {self.twt_ms[0]:g} to {self.twt_ms[-1]:g} ms": len(twt_ms) == len(self.twt_ms)
            and (np.abs(twt_ms - self.twt_ms) <= slack_ms).all(),
        }
        for what, has in there.items():
            if not has:
                raise OptionError(
                    f"{self.path.name} was not made of {survey.path.name}, which does not have its {what}. Give the "
                    "survey that `infer cube` has classified."
                )

    def doubts(self, survey: Survey) -> Iterator[str]:
        """A sentence where a .sgy has not a survey's trace headers, which `infer cube` keeps."""
        if isinstance(self.facies, _SegyFacies) and not self.facies.has_header_of(survey):
            yield (
                f"The first trace of {self.path.name} has another header than that of {survey.path.name} at the same "
                "place: it may have been made of another survey."
            )


def open_cube(
    path: Path,
    card: ModelCard | None = None,
    *,
    inline_byte: int | None = None,
    crossline_byte: int | None = None,
) -> FinishedCube:
    """A finished cube.

    card: of the model that made it, for the facies' names and colours; those of the table by default. A .zarr has its
    own. inline_byte, crossline_byte: where a .sgy has its line numbers, as for the survey that it was made of.

    Raises SurveyError, SurveyNotFoundError: nothing that `infer cube` wrote. DependencyError: .zarr without zarr.
    """
    if path.suffix.lower() == ".zarr":
        return _open_zarr(path)
    survey = open_survey(path, inline_byte=inline_byte, crossline_byte=crossline_byte)
    if (survey.file.number_format.width, survey.file.number_format.kind) != (1, "signed"):
        raise SurveyError(f"{path.name} holds no facies: they are 8-bit signed integers, not {survey.number_format}.")
    return FinishedCube(
        path,
        survey.inlines.numbers(),
        survey.crosslines.numbers(),
        survey.twt_ms,
        survey.sample_interval_ms,
        card.facies_names if card else FACIES_NAMES,
        card.facies_colours if card else FACIES_COLOURS,
        card.name if card else "",
        _SegyFacies(survey),
    )


def _open_zarr(path: Path) -> FinishedCube:
    try:
        import zarr
    except ImportError as error:
        raise DependencyError('A .zarr needs zarr: `pip install "facies-edge[zarr]"`.') from error
    try:
        group = zarr.open_group(path, mode="r")
        facies = group["facies"]
        inline, crossline, twt_ms = (group[name][:] for name in ("inline", "crossline", "twt_ms"))
        names, colours = (tuple(facies.attrs[name]) for name in ("facies_names", "facies_colours"))
        between_ms = twt_ms[1] - twt_ms[0] if len(twt_ms) > 1 else 1.0
        interval_ms = float(group["twt_ms"].attrs.get("sample_interval_ms", between_ms))  # older ones do not say it
        model = str(group.attrs["model"])
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:  # of zarr and of JSON
        raise SurveyError(f"{path} is no cube of facies as `infer cube` writes it: {error}.") from error
    return FinishedCube(path, inline, crossline, twt_ms, interval_ms, names, colours, model, facies)


@dataclass(frozen=True)
class _SegyFacies:
    """Facies of a .sgy by index, as a zarr.Array has them."""

    survey: Survey

    def __getitem__(self, at: Any) -> NDArray[np.int8]:
        at = (at,) if isinstance(at, int) else at
        survey = self.survey
        inline = (survey.inline_of_trace - survey.inlines.first) // survey.inlines.step
        crossline = (survey.crossline_of_trace - survey.crosslines.first) // survey.crosslines.step
        if len(at) == 1:
            return self._placed(np.flatnonzero(inline == at[0]), crossline, survey.crosslines.count)
        if len(at) == 2:
            return self._placed(np.flatnonzero(crossline == at[1]), inline, survey.inlines.count)
        facies = np.full((survey.inlines.count, survey.crosslines.count), NO_DATA, np.int8)
        for first, _, samples in survey.file.blocks():
            traces = slice(first, first + len(samples))
            facies[inline[traces], crossline[traces]] = samples[:, at[2]]
        return facies

    def has_header_of(self, survey: Survey) -> bool:
        """Whether the first trace has the header of a survey's trace, but for what a part has for itself."""
        same_place = (survey.inline_of_trace == self.survey.inline_of_trace[0]) & (
            survey.crossline_of_trace == self.survey.crossline_of_trace[0]
        )
        mine = self.survey.file.headers(np.array([0]))
        theirs = survey.file.headers(np.flatnonzero(same_place))
        if mine.shape[1] != theirs.shape[1]:
            return False
        kept = np.ones(mine.shape[1], bool)
        kept[_OF_A_PART] = False
        return bool((mine[:, kept] == theirs[:, kept]).all(axis=1).any())

    def _placed(self, traces: NDArray[np.intp], position: NDArray[np.int32], count: int) -> NDArray[np.int8]:
        facies = np.full((count, self.survey.n_samples), NO_DATA, np.int8)
        facies[position[traces]] = self.survey.file.amplitude(traces)
        return facies
