"""The `infer view` command: parse, call, report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infer.errors import OptionError, OutputError
from infer.options import CrosslineByte, InlineByte, warn, warn_of_another_time

if TYPE_CHECKING:
    from infer.finished import FinishedCube
    from infer.section import LineKind
    from infer.survey import Survey


def view(
    cube: Annotated[Path, typer.Argument(metavar="OUT", help="What `infer cube` wrote.", show_default=False)],
    inline: Annotated[int | None, typer.Option(metavar="N", help="Draw the inline with this number.")] = None,
    crossline: Annotated[int | None, typer.Option(metavar="N", help="Draw the crossline with this number.")] = None,
    twt: Annotated[
        float | None, typer.Option(metavar="T", help="Draw the time slice at this two-way time, ms.")
    ] = None,
    survey: Annotated[
        Path | None, typer.Option(metavar="CUBE", help="The survey that was classified, to draw under the facies.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME|PATH", help="What classified it, for a .sgy of other facies than MalenoV's nine."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Where to. [default: a .png in this folder]")
    ] = None,
    inline_byte: InlineByte = None,
    crossline_byte: CrosslineByte = None,
) -> None:
    """Draw a line or a time of a finished cube. Nothing is computed."""
    from infer.card import read_card
    from infer.finished import open_cube
    from infer.models import find_model
    from infer.survey import open_survey
    from infer.writers import check_outputs

    asked = {"inline": inline, "crossline": crossline, "twt": twt}
    given = [name for name, value in asked.items() if value is not None]
    if len(given) != 1:
        raise OptionError("Say what to draw: one of --inline N, --crossline N and --twt T.")
    path = out or Path(f"{cube.stem}_{given[0]}_{asked[given[0]]:.15g}.png")
    if path.suffix.lower() != ".png":
        raise OutputError(f"{path.name}: what `infer view` writes is a picture, a .png.")
    check_outputs([path], cube)
    finished = open_cube(
        cube, read_card(find_model(model)) if model else None, inline_byte=inline_byte, crossline_byte=crossline_byte
    )
    source = open_survey(survey, inline_byte=inline_byte, crossline_byte=crossline_byte) if survey else None
    if source:
        warn(*source.warnings)
        finished.check_source(source)
        warn(*finished.doubts(source))
    if twt is not None:
        _draw_time(finished, twt, source, path)
    elif inline is not None:
        _draw_line(finished, "inline", inline, source, path)
    else:
        _draw_line(finished, "crossline", crossline or 0, source, path)
    print(f"Wrote {path}")


def _draw_line(finished: FinishedCube, kind: LineKind, number: int, source: Survey | None, path: Path) -> None:
    import numpy as np

    from infer.section import NO_DATA, FaciesSection, Section
    from infer.writers import write_picture

    facies = finished.line(kind, number)
    crossing = finished.crossline if kind == "inline" else finished.inline
    amplitude = np.zeros(facies.shape, np.float32)
    if source:
        line = source.read_line(kind, number)
        traces = np.searchsorted(line.crossing, crossing)
        first = int(np.abs(line.twt_ms - finished.twt_ms[0]).argmin())
        amplitude = line.amplitude[traces, first : first + facies.shape[1]]
    section = Section.from_amplitude(
        amplitude,
        kind,
        number,
        crossing=crossing,
        sample_interval_ms=finished.sample_interval_ms,
        first_twt_ms=float(finished.twt_ms[0]),
    )
    section.live[:] = (facies != NO_DATA).any(axis=1)
    clip = source.amplitude_clip if source else 1.0
    names, colours = finished.facies_names, finished.facies_colours
    probabilities = np.zeros((len(names), *facies.shape), np.float32)
    result = FaciesSection(section, facies, probabilities, names, colours, clip, finished.model)
    write_picture(result, path, finished.path.name, bare=source is not None)


def _draw_time(finished: FinishedCube, twt: float, source: Survey | None, path: Path) -> None:
    import numpy as np

    from infer.section import NO_DATA, TimeSlice
    from infer.time_slice import amplitudes_at, write_time_slice

    facies, nearest_ms = finished.at_time(twt)
    warn_of_another_time(twt, nearest_ms)
    amplitude = np.where(facies == NO_DATA, np.float32(np.nan), np.float32(0))
    if source:
        amplitude = amplitudes_at(source, nearest_ms, finished.inline, finished.crossline)
    result = TimeSlice(
        nearest_ms,
        finished.inline,
        finished.crossline,
        amplitude,
        facies,
        np.full(facies.shape, np.nan, np.float32),
        finished.facies_names,
        finished.facies_colours,
        source.amplitude_clip if source else 1.0,
        finished.model,
    )
    write_time_slice(result, path, finished.path.name, bare=source is not None)
