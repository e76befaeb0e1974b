"""Whole surveys: block after block, read ahead and written behind; memory stays the same, and a kill costs a block."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from infer.classification import probabilities_at
from infer.cube_plan import CONFIDENCE, FACIES, KEEPING, PROBABILITY, Block, CubeRequest, Plan, outputs_of, partial_of
from infer.errors import DependencyError, InferError, OutputError
from infer.files import check_free, check_not_survey, is_taken
from infer.journal import Journal, begun, held
from infer.section import NO_DATA, LineKind, Section
from infer.workers import Progress

Values = dict[str, NDArray[Any]]  # by quantity: [inline, crossline, sample]
Lines = dict[LineKind, list[Section]]
Report = Callable[["Advance"], None]


@dataclass(frozen=True)
class Advance:
    """How far a run is: lines, and samples classified since it started or went on; on many machines, what is where."""

    lines_done: float
    lines: int
    samples: int
    where: str = ""


class Store(Protocol):
    """Where blocks go: a SegyStore or a ZarrStore."""

    warnings: tuple[str, ...]
    """Sentences on what the file will not say as the survey does."""

    @property
    def bytes_needed(self) -> int:
        """On the disk, at most."""

    def create(self, *, filled: bool) -> None:
        """Make room."""

    def write(self, block: Block, values: Mapping[str, NDArray[Any]]) -> None:
        """Put a block's values where they belong, and wait for the disk."""


class CubeRun:
    """A run over a survey: what is done of it, and all that it takes to do a block more."""

    def __init__(self, request: CubeRequest, *, restart: bool = False) -> None:
        """Prepare a run, or one that was interrupted to go on.

        restart: forget what is there of it.

        Raises OutputError: OUT is the survey, is there already or cannot be written, the disk is too small, another
        run is at work on it, or what is there of an interrupted run is another run's. Otherwise what `Plan` raises.
        """
        check_not_survey(request.out, request.cube)
        self.plan = Plan(request)
        self.files = outputs_of(request.out, self.plan.quantities)
        self.partials = _partials(self.files, visible=request.keep_partial)
        path = request.out.with_name(f"{request.out.name}.journal")
        for each in (path, *self.files.values(), *self.partials.values()):
            check_not_survey(each, request.cube)
        self.store = open_store(self.plan, self.partials)
        with sentences(request.out):
            its = _partials_of(begun(path), request.out)
            for partial in set(self.partials.values()) - its:
                check_free(partial)
            if path.exists():
                with held(path):  # nobody else is at work
                    if restart:
                        self._forget(its)
                if restart:
                    path.unlink()
        self.journal = Journal(path, self.plan.describe())
        self._check_names()
        if not self.journal.done:
            with sentences(request.out):
                self._begin()

    def _check_names(self) -> None:
        """Raise OutputError where something has an output's name, or where finished blocks are gone."""
        named = {name for name, path in self.files.items() if is_taken(path)}
        if named and self.remaining:
            check_free(self.files[min(named)])
        for name in sorted(set(self.files) - named):
            if self.journal.done and not self.partials[name].exists():
                raise OutputError(
                    f"{self.partials[name]} is gone, with the blocks that were done. Put it back, or start over with "
                    "--restart."
                )

    def _check_room(self, kept: int = 0) -> None:
        """Raise OutputError where the disk is too small, with so many bytes of it that will be free."""
        folder = self.plan.request.out.parent
        free, needed = shutil.disk_usage(folder).free + kept, self.store.bytes_needed
        if needed > free:
            raise OutputError(
                f"{self.plan.request.out} would take {needed / 1e9:,.1f} GB, and {folder} has {free / 1e9:,.1f} GB "
                "free. Make room, or choose another folder or a --region."
            )

    def _begin(self) -> None:
        self._check_room()
        with self.journal.started(), self.forgotten_unless_begun():  # what is under these names is this run's now
            for path in self.partials.values():
                _delete(path)
            self.store.create(filled=self.plan.request.keep_partial)

    def _forget(self, partials: Iterable[Path]) -> None:
        """Delete what another run has left, unless this one cannot begin."""
        for path in self.files.values():
            check_free(path)
        self._check_room(sum(path.stat().st_size for path in partials if path.is_file()))
        for path in partials:
            check_not_survey(path, self.plan.request.cube)
            _delete(path)

    @contextmanager
    def forgotten_unless_begun(self) -> Iterator[None]:
        """Where this fails and no block is done, leave nothing behind: another run may have the name."""
        try:
            yield
        except BaseException:
            if not self.journal.done:
                with suppress(OSError):
                    for path in self.partials.values():
                        _delete(path)
                    self.journal.remove()
            raise

    @property
    def remaining(self) -> list[Block]:
        """The blocks that are not done, in their order."""
        return [block for block in self.plan.blocks if block.number not in self.journal.done]

    def lines_of(self, block: Block) -> float:
        """What a block is of `plan.lines`."""
        n_inlines, n_crosslines, _ = self.plan.box.shape
        share = {"inline": len(block.crosslines) / n_crosslines, "crossline": len(block.inlines) / n_inlines}
        lines = {"inline": len(block.inlines), "crossline": len(block.crosslines)}
        return sum(lines[kind] * share[kind] for kind in self.plan.directions)

    def work(self, report: Report | None = None, cancel: threading.Event | None = None) -> None:
        """Compute all that remains, in this process, and give the files their names.

        report: called several times a second, in this thread. cancel: set it to stop within a tile.

        Raises Cancelled; OutputError: the disk does not take it, or another run is at work on it. What is done is kept.
        Otherwise as `classify`.
        """
        remaining = self.remaining
        done = Advance(self.plan.lines - sum(map(self.lines_of, remaining)), self.plan.lines, 0)
        with (
            sentences(self.plan.request.out),
            self.journal.held(),
            self.forgotten_unless_begun(),
            ThreadPoolExecutor(1) as reading,
            ThreadPoolExecutor(1) as writing,
        ):
            ahead = [reading.submit(read_block, self.plan, block) for block in remaining[:1]]
            behind: list[Future[None]] = []
            for at, block in enumerate(remaining):
                lines = ahead.pop().result()
                ahead = [reading.submit(read_block, self.plan, following) for following in remaining[at + 1 : at + 2]]
                values = compute_block(self.plan, block, lines, self._telling(report, done, block), cancel)
                samples = count_samples(self.plan, block, lines)
                done = Advance(done.lines_done + self.lines_of(block), done.lines, done.samples + samples)
                for written in behind:
                    written.result()
                behind = [writing.submit(self.keep, block, values)]
            for written in behind:
                written.result()
            self.give_names()
        self.journal.remove()

    def _telling(self, report: Report | None, before: Advance, block: Block) -> Progress:
        lines = self.lines_of(block)

        def tell(done: int, total: int) -> None:
            if report:
                lines_done = before.lines_done + lines * done / max(1, total)
                report(Advance(lines_done, before.lines, before.samples + done))

        return tell

    def keep(self, block: Block, values: Values) -> None:
        """Write a computed block and note it."""
        self.store.write(block, values)
        self.journal.add(block.number)

    def give_names(self) -> None:
        """Give the files their names: all blocks are done.

        Raises OutputError: there is something under one of them.
        """
        for name, partial in self.partials.items():
            if partial.exists():  # all quantities of a .zarr are in one
                if is_taken(self.files[name]):
                    raise OutputError(
                        f"{self.files[name]} has appeared meanwhile, and is not replaced. Move it away, and the same "
                        f"command gives its name to {partial}, which is whole."
                    )
                partial.rename(self.files[name])


def open_store(plan: Plan, partials: Mapping[str, Path]) -> Store:
    """The store for an output with that suffix.

    Raises DependencyError: .zarr without zarr.
    """
    if plan.request.out.suffix.lower() != ".zarr":
        from infer.cube_sgy import SegyStore

        return SegyStore(plan, partials)
    try:
        from infer.cube_zarr import ZarrStore
    except ImportError as error:
        raise DependencyError(
            'A .zarr needs zarr, and that Python 3.11: `pip install "facies-edge[zarr]"`, or choose an output in .sgy.'
        ) from error
    return ZarrStore(plan, partials[FACIES])


def read_block(plan: Plan, block: Block) -> Lines:
    """The lines of a block, as far as it depends on them, along every direction in which it is classified."""
    parts = {"inline": (plan.survey.inlines, block.inlines), "crossline": (plan.survey.crosslines, block.crosslines)}
    numbers = {kind: lines.numbers()[part.start : part.stop].tolist() for kind, (lines, part) in parts.items()}
    lines = {kind: plan.survey.read_lines(kind, numbers[kind], plan.window(block, kind)) for kind in plan.directions}
    plan.silenced |= any(section.silenced for section in lines[plan.directions[0]])
    return lines


def compute_block(
    plan: Plan, block: Block, lines: Lines, progress: Progress | None = None, cancel: threading.Event | None = None
) -> Values:
    """A block's values.

    progress: called with samples done and in all, several times a second.
    """
    shape = len(block.inlines), len(block.crosslines), len(plan.box.samples)
    nothing = {name: NO_DATA if name == FACIES else np.nan for name in plan.quantities}
    values = {name: np.full(shape, nothing[name], dtype) for name, dtype in plan.quantities.items()}
    classified = _classified(plan, block, lines, progress, cancel)
    if len(plan.directions) == 1:
        for kind, at, traces, found in classified:
            _put(plan, values, (at, traces) if kind == "inline" else (traces, at), found)
        return values
    sums = np.zeros((len(plan.model.card.facies_names), *shape), np.float32)
    for kind, at, traces, found in classified:
        (sums[:, at] if kind == "inline" else sums[:, :, at])[:, traces] += found
    for at, section in enumerate(lines["inline"]):
        traces = np.flatnonzero(section.live[plan.within(block, "inline")])
        _put(plan, values, (at, traces), sums[:, at, traces] * np.float32(0.5))
    return values


def _classified(
    plan: Plan, block: Block, lines: Lines, progress: Progress | None, cancel: threading.Event | None
) -> Iterator[tuple[LineKind, int, NDArray[np.intp], NDArray[np.float32]]]:
    """Line after line of a block: which it is, its live traces, and their probabilities `[facies, trace, sample]`."""
    samples = np.array(plan.box.samples)
    total, before = count_samples(plan, block, lines), 0

    def tell(done: int, _of_line: int) -> None:
        if progress:
            progress(before + done, total)

    for kind in plan.directions:
        within = plan.within(block, kind)
        for at, section in enumerate(lines[kind]):
            traces = np.flatnonzero(section.live[within])
            found = probabilities_at(
                section,
                traces + within.start,
                samples,
                plan.model,
                plan.clip,
                plan.engine,
                progress=tell,
                cancel=cancel,
            )
            before += traces.size * samples.size
            yield kind, at, traces, found


def count_samples(plan: Plan, block: Block, lines: Lines) -> int:
    """How many samples of a block are classified; along both directions twice."""
    live = (
        np.count_nonzero(section.live[plan.within(block, kind)]) for kind, found in lines.items() for section in found
    )
    return int(sum(live)) * len(plan.box.samples)


def _put(plan: Plan, values: Values, where: tuple[Any, Any], probabilities: NDArray[np.float32]) -> None:
    """What is asked for of a line's probabilities `[facies, trace, sample]`."""
    for name, array in values.items():
        if name == FACIES:
            array[where] = probabilities.argmax(axis=0)
        elif name == CONFIDENCE:
            array[where] = probabilities.max(axis=0)
        else:
            array[where] = probabilities[plan.model.card.facies_names.index(name.removeprefix(PROBABILITY))]


def _partials(files: Mapping[str, Path], *, visible: bool) -> dict[str, Path]:
    return {name: partial_of(path, visible=visible) for name, path in files.items()}


def _partials_of(run: Mapping[str, Any], out: Path) -> set[Path]:
    """What a run has made that a journal tells of."""
    if not run:
        return set()
    files = outputs_of(out, dict.fromkeys(map(str, run["output"][1:])))
    return set(_partials(files, visible=run.get("run") == KEEPING).values())


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def sentences(out: Path) -> Iterator[None]:
    """What the system says of a file that it does not take, as a sentence."""
    try:
        yield
    except InferError:
        raise
    except OSError as error:
        raise OutputError(
            f"{out} could not be written: {error.strerror or error}. What is done is kept: the same command goes on."
        ) from error
