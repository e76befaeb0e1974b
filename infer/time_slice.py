"""Time slices: one sample of every trace, seen from above."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infer.cube import compute_block, read_block
from infer.cube_plan import CONFIDENCE, FACIES, Plan
from infer.errors import OptionError, OutputError
from infer.files import writing
from infer.section import TimeSlice
from infer.survey import Survey
from infer.workers import Progress


def classify_time_slice(
    plan: Plan, progress: Progress | None = None, cancel: threading.Event | None = None
) -> TimeSlice:
    """The facies of a plan's one sample, for all of its traces. Only what these depend on is computed.

    progress: called with lines done and in all.

    Raises OptionError: the plan has more samples than one. Otherwise as `classify`.
    """
    if len(plan.box.samples) != 1:
        raise OptionError(f"A time slice has one sample a trace, and this region has {len(plan.box.samples):,}.")
    n_inlines, n_crosslines, _ = plan.box.shape
    amplitude = np.full((n_inlines, n_crosslines), np.nan, np.float32)
    facies, confidence = np.full(amplitude.shape, -1, np.int8), amplitude.copy()
    for block in plan.blocks:
        lines = read_block(plan, block)
        values = compute_block(plan, block, lines, cancel=cancel)
        rows = slice(block.inlines.start - plan.box.inlines.start, block.inlines.stop - plan.box.inlines.start)
        facies[rows], confidence[rows] = values[FACIES][..., 0], values[CONFIDENCE][..., 0]
        within = plan.within(block, "inline")
        sections = [section.amplitude[within, plan.box.samples.start] for section in lines["inline"]]
        amplitude[rows] = np.where(facies[rows] >= 0, np.stack(sections), np.nan)
        if progress:
            progress(rows.stop, n_inlines)
    card, survey = plan.model.card, plan.survey
    return TimeSlice(
        float(survey.twt_ms[plan.box.samples.start]),
        survey.inlines.numbers()[plan.box.inlines.start : plan.box.inlines.stop],
        survey.crosslines.numbers()[plan.box.crosslines.start : plan.box.crosslines.stop],
        amplitude,
        facies,
        confidence,
        card.facies_names,
        card.facies_colours,
        plan.clip,
        card.name,
    )


def amplitudes_at(
    survey: Survey, twt_ms: float, inline: NDArray[np.int32], crossline: NDArray[np.int32]
) -> NDArray[np.float32]:
    """A survey's amplitudes `[inline, crossline]` at a time; NaN on dead traces and in holes."""
    sample = int(np.abs(survey.twt_ms - twt_ms).argmin())
    traces = (crossline.astype(np.int64) - survey.crosslines.first) // survey.crosslines.step
    sections = (survey.read_inline(number) for number in inline.tolist())
    dead = np.float32(np.nan)
    return np.stack([np.where(line.live[traces], line.amplitude[traces, sample], dead) for line in sections])


def check_time_slice_outputs(paths: Iterable[Path]) -> None:
    """Raise OutputError where a suffix is not one of a time slice. Ask before computing."""
    for path in paths:
        if path.suffix.lower() not in (".png", ".npz"):
            raise OutputError(f"{path.name}: the suffix says what to write, and of a time slice that is .png or .npz.")


def write_time_slice(result: TimeSlice, path: Path, title: str, *, bare: bool = True) -> None:
    """Write it as a picture (.png) or as arrays (.npz).

    bare: whether a picture has the bare amplitudes too.

    Raises OutputError: another suffix, or the disk does not take it.
    """
    check_time_slice_outputs([path])
    with writing(path) as temporary:
        if path.suffix.lower() == ".png":
            from infer.picture import draw_time_slice

            draw_time_slice(result, temporary, title, bare=bare)
            return
        with temporary.open("wb") as file:
            np.savez(
                file,
                facies=result.facies,
                confidence=result.confidence,
                amplitude=result.amplitude,
                inline=result.inline,
                crossline=result.crossline,
                twt_ms=result.twt_ms,
                facies_names=np.array(result.facies_names),
            )
