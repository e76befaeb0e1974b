"""A FaciesSection as a file, its format chosen by the suffix: .npz, .npy, .png, .sgy."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from infer.errors import DependencyError, OutputError
from infer.files import check_folder, check_free, check_not_survey, writing
from infer.section import FaciesSection
from infer.segy_output import file_header, trace_rows
from infer.survey import Survey

CONFIDENCE_SUFFIX = ".confidence.sgy"
_SEGY = (".sgy", ".segy")


def check_outputs(paths: Iterable[Path], source: Path | None = None) -> None:
    """Raise unless every path can be written to. Ask before computing: nobody should wait for a wrong suffix.

    Raises OutputError: an unknown suffix, no such folder, the survey's own file, or one path twice.
    DependencyError: a picture without matplotlib.
    """
    seen: set[Path] = set()
    for path in paths:
        if path.suffix.lower() not in _WRITERS:
            kinds = f"{', '.join(_WRITERS)} and {CONFIDENCE_SUFFIX}"
            raise OutputError(f"{path.name or path}: the suffix says what to write, and there are {kinds}.")
        check_folder(path)
        if path.is_dir():
            raise OutputError(f"{path} cannot be written: it is a folder.")
        if source is not None:
            check_not_survey(path, source)
        if path.resolve() in seen:
            raise OutputError(f"{path} was asked for twice.")
        if path.suffix.lower() == ".png" and importlib.util.find_spec("matplotlib") is None:
            raise DependencyError(
                'A picture needs matplotlib: `pip install "facies-edge[plot]"`, or choose an --out in .npz or .sgy.'
            )
        seen.add(path.resolve())


def check_surveys_kept(paths: Iterable[Path]) -> None:
    """Raise OutputError where a SEG-Y file would be replaced: it may be somebody's survey."""
    for path in paths:
        if path.suffix.lower() in _SEGY and path.exists():  # a link to nothing is written through
            check_free(path)


def write(result: FaciesSection, path: str | Path, survey: Survey | None = None) -> None:
    """Write `result` to `path`, which appears under its name only when it is whole. What has that name is replaced.

    survey: where the line came from. SEG-Y needs its headers, and a picture its name.

    - `.npz`: `facies` int8 `[trace, sample]`, `probabilities` float32 `[facies, trace, sample]`, `inline`, `crossline`
      int32 `[trace]`, `twt_ms` float64 `[sample]`, `facies_names`.
    - `.npy`: facies alone, int8 `[trace, sample]`.
    - `.png`: the section in grey with the facies over it.
    - `.sgy`: the line's traces as the survey's file has them, every header byte kept; facies as 8-bit integers.
    - `.confidence.sgy`: the same with the confidence, as IEEE float32; 0 without data.

    Raises OutputError, DependencyError: see `check_outputs`; OutputError too when the disk does not take it, or the
    result is of another size than the survey's line, or of other traces. LineNotFoundError: the survey has no line
    with its number.
    """
    path = Path(path)
    check_outputs([path], survey.file.place if survey else None)
    if path.suffix.lower() in _SEGY and survey is None:
        raise OutputError(f"{path.name} cannot be written without the survey whose trace headers it takes over.")
    with writing(path) as temporary:
        _WRITERS[path.suffix.lower()](result, temporary, survey)


def _write_npy(result: FaciesSection, path: Path, _survey: Survey | None) -> None:
    with path.open("wb") as file:  # given a name, numpy would add a suffix in small letters to one in capitals
        np.save(file, result.facies)


def _write_npz(result: FaciesSection, path: Path, _survey: Survey | None) -> None:
    with path.open("wb") as file:
        np.savez(
            file,
            facies=result.facies,
            probabilities=result.probabilities,
            inline=result.section.inline,
            crossline=result.section.crossline,
            twt_ms=result.section.twt_ms,
            facies_names=np.array(result.facies_names),
        )


def write_picture(result: FaciesSection, path: Path, name: str, *, bare: bool = True) -> None:
    """Write a picture of a line of the file of that name. bare: with the bare section beside the facies.

    Raises OutputError: the disk does not take it.
    """
    with writing(path) as temporary:
        _draw(result, temporary, name, bare=bare)


def _draw(result: FaciesSection, path: Path, name: str, *, bare: bool = True) -> None:
    if not result.section.shape[0]:
        raise OutputError("A section without traces cannot be drawn.")
    from infer.picture import draw  # matplotlib takes half a second to import

    line = f"{result.section.kind} {result.section.number}"
    draw(result, path, f"{name}, {line}" if name else line, bare=bare)


def _write_png(result: FaciesSection, path: Path, survey: Survey | None) -> None:
    _draw(result, path, survey.path.name if survey else "")


def _write_sgy(result: FaciesSection, path: Path, survey: Survey | None) -> None:
    assert survey is not None, "write has checked it"  # noqa: S101
    line = survey.line_bytes(result.section.kind, result.section.number)
    across = survey.crosslines if result.section.kind == "inline" else survey.inlines
    expected = across.count, survey.n_samples
    if result.section.shape != expected:
        line_name = f"{result.section.kind.capitalize()} {result.section.number} of {survey.path.name}"
        raise OutputError(
            f"{line_name} has {expected[0]:,} places of {expected[1]:,} samples, and this result "
            f"{result.section.shape[0]:,} traces of {result.section.shape[1]:,}: give the survey that the section was "
            "read from."
        )
    if not np.array_equal(result.section.crossing, across.numbers()):
        raise OutputError(
            f"This result's traces have other numbers along the {result.section.kind} than {survey.path.name} has, "
            f"{across}: give `crossing` to `from_amplitude`, ascending, or the survey that the section was read from."
        )
    confident = path.stem.lower().endswith(".confidence")
    samples = np.nan_to_num(result.confidence) if confident else result.facies
    with path.open("wb") as file:
        file.write(file_header(line.preamble, line.byte_order, samples.dtype, len(line.headers), samples.shape[1]))
        file.write(trace_rows(line.headers, samples[line.traces], line.byte_order).tobytes())


_WRITERS: dict[str, Callable[[FaciesSection, Path, Survey | None], None]] = {
    ".png": _write_png,
    ".npz": _write_npz,
    ".npy": _write_npy,
    ".sgy": _write_sgy,
    ".segy": _write_sgy,
}
