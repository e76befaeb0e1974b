"""The `infer cube` command: parse, call, report."""

from __future__ import annotations

import importlib.util
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infer.errors import Cancelled, DependencyError
from infer.options import (
    Clip,
    CrosslineByte,
    Cube,
    DeviceName,
    EngineName,
    InlineByte,
    ModelName,
    Quiet,
    silence,
    warn,
)

if TYPE_CHECKING:
    from infer.cube import Advance, CubeRun

Out = Annotated[
    Path,
    typer.Argument(
        metavar="OUT",
        help="The suffix decides: .sgy (all traces and headers of the survey, facies as 8-bit integers) or .zarr.",
        show_default=False,
    ),
]
AlongName = Annotated[
    str,
    typer.Option(
        metavar="inline|crossline|both", help="Which lines are classified; both: the mean of their probabilities."
    ),
]
RegionText = Annotated[
    str | None,
    typer.Option(
        "--region",
        metavar="inlines=A:B,crosslines=A:B,twt=A:B",
        help="Only these lines and times (ms), ends included; any of them may be left out. [default: all]",
        show_default=False,
    ),
]
Confidence = Annotated[bool, typer.Option("--confidence", help="The confidence too, as float32.")]
Probability = Annotated[
    list[str] | None,
    typer.Option("--probability", metavar="FACIES", help="This facies' probability too; may be given several times."),
]
Workers = Annotated[int | None, typer.Option(metavar="N", help="Threads that compute. [default: one a core]")]
KeepPartial = Annotated[
    bool,
    typer.Option(
        "--keep-partial",
        help="Write to OUT's name with .partial in it, to be looked at early; nothing may have that name.",
    ),
]
Dask = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="Compute on the workers of this dask scheduler (extra `dask`).")
]
Restart = Annotated[bool, typer.Option("--restart", help="Forget what an interrupted run has done.")]

EVERY_S = 30.0
"""How often a run that nobody watches says where it is."""


def cube(
    cube: Cube,
    out: Out,
    model: ModelName = "waldeland",
    along: AlongName = "inline",
    region: RegionText = None,
    confidence: Confidence = False,
    probability: Probability = None,
    device: DeviceName = "auto",
    engine: EngineName = "auto",
    clip: Clip = None,
    workers: Workers = None,
    dask: Dask = None,
    keep_partial: KeepPartial = False,
    restart: Restart = False,
    inline_byte: InlineByte = None,
    crossline_byte: CrosslineByte = None,
    quiet: Quiet = False,
) -> None:
    """Classify a whole survey, or a part of it. Interrupted, the same command goes on."""
    from infer.classification import check_options
    from infer.cube import CubeRun
    from infer.cube_plan import CubeRequest
    from infer.region import Region

    check_options(1, None, clip)
    if dask and importlib.util.find_spec("distributed") is None:
        raise DependencyError('Several machines need dask: `pip install "facies-edge[dask]"`.')
    request = CubeRequest(
        cube=cube.absolute() if dask else cube,
        out=out.absolute() if dask else out,
        model=model,
        along=along,
        region=Region() if region is None else Region.parse(region),
        confidence=confidence,
        probabilities=tuple(probability or ()),
        clip=clip,
        device=device,
        engine=engine,
        workers=workers,
        inline_byte=inline_byte,
        crossline_byte=crossline_byte,
        keep_partial=keep_partial,
    )
    run = CubeRun(request, restart=restart)
    say = silence if quiet else print
    warn(*run.plan.survey.warnings, *request.region.left_out(run.plan.survey), *run.plan.sparse(other_way="--along"))
    warn(*run.store.warnings)
    loaded = run.plan.model
    for what, reason in (("On the CPU", loaded.device_reason), ("By patches", loaded.no_slice_reason)):
        if reason:
            say(f"{what}, since {reason}")
    before = len(run.journal.done)
    if before:
        say(f"Going on: {before:,} of {len(run.plan.blocks):,} blocks are done.")
    started = time.perf_counter()
    with _Watched(run, quiet) as watched:
        try:
            _work(run, dask, watched)
        except (Cancelled, KeyboardInterrupt):
            kept = run.plan.lines - sum(map(run.lines_of, run.remaining))
            raise Cancelled(
                f"Stopped. {kept:,.0f} of {run.plan.lines:,} lines are done and kept; the same command goes on."
            ) from None
    seconds = time.perf_counter() - started
    for path in dict.fromkeys(run.files.values()):
        say(f"Wrote {path}")
    warn(*run.plan.odd_samples())
    samples = watched.last.samples
    if not samples and not before:
        warn("There is no live trace in it, so all of it is without data.")
    say(
        f"{loaded.card.name} on {loaded.device}, {run.plan.engine} engine: {samples:,} samples classified in "
        f"{seconds:,.1f} s, {samples / max(seconds, 1e-9):,.0f} samples/s"
    )


def _work(run: CubeRun, dask: str | None, watched: _Watched) -> None:
    if dask is None:
        run.work(watched)
        return
    from infer.cube_dask import work_with_dask

    work_with_dask(run, dask, watched)


class _Watched(AbstractContextManager["_Watched"]):
    """Takes a run's reports: on a terminal a bar with lines, samples/s and time left, elsewhere a line now and then."""

    def __init__(self, run: CubeRun, quiet: bool) -> None:
        from infer.cube import Advance

        lines = run.plan.lines
        self.last: Advance = Advance(lines - sum(map(run.lines_of, run.remaining)), lines, 0)
        self._first, self._started, self._told = self.last.lines_done, time.monotonic(), time.monotonic()
        self._quiet = quiet
        self._bar: Any = None if quiet or not sys.stderr.isatty() else _bar()
        self._task = self._bar.add_task("", total=lines, text="") if self._bar else None

    def __call__(self, advance: Advance) -> None:
        self.last = advance
        if self._bar:
            self._bar.update(self._task, completed=advance.lines_done, text=self._sentence())
        elif not self._quiet and time.monotonic() - self._told >= EVERY_S:
            self._told = time.monotonic()
            print(self._sentence(), file=sys.stderr, flush=True)

    def _sentence(self) -> str:
        seconds = max(time.monotonic() - self._started, 1e-9)
        lines_a_second = (self.last.lines_done - self._first) / seconds
        left = (self.last.lines - self.last.lines_done) / lines_a_second if lines_a_second > 0 else float("nan")
        return (
            f"{self.last.lines_done:,.0f} of {self.last.lines:,} lines, {self.last.samples / seconds:,.0f} samples/s, "
            f"{_duration(left)} left{'; ' if self.last.where else ''}{self.last.where}"
        )

    def __enter__(self) -> _Watched:
        (self._bar or nullcontext()).__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()


def _duration(seconds: float) -> str:
    """In the units that one thinks in.

    >>> _duration(5), _duration(4000), _duration(200_000)
    ('5 s', '1 h 07 min', '2 d 8 h')
    """
    if not seconds < float("inf"):
        return "unknown"
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if seconds < 120:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    return Progress(BarColumn(), TextColumn("{task.fields[text]}"), console=Console(stderr=True), transient=True)
