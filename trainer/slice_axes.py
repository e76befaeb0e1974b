"""One axis of a patch: which functions of the section its positions are, and where along the section each is needed.

A position of a layer reads positions of the layer before. Two positions that read the same functions at the same
relative shifts are one function at two places, so one map over the whole section holds both; only those that meet the
patch's own padding differ. Traces and samples are followed each for itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Position(NamedTuple):
    """A function, and how many samples from the patch's first one it begins."""

    function: int
    shift: int


class Read(NamedTuple):
    """What a position reads: a position of one of the operator's sources, through a row or column of its kernel."""

    position: int
    tap: int = 0
    source: int = 0


class Tap(NamedTuple):
    """What a function reads: a function of one of the sources, so many samples from where it begins itself."""

    source: int
    tap: int
    function: int
    shift: int


@dataclass
class Axis:
    """The positions of a layer along one axis.

    needed: of each function, the first and the last shift at which a sample of the section needs it. A map of it
    over a section of n samples begins at the first and holds last - first + n values.
    """

    positions: tuple[Position, ...]
    functions: tuple[tuple[Tap, ...], ...]
    constant: tuple[bool, ...]  # of each function: whether it reads nothing of the section
    needed: dict[int, tuple[int, int]] = field(default_factory=dict)

    def need(self, function: int, first: int, last: int) -> None:
        """Have the map of the function reach from `first` to `last`, at least."""
        low, high = self.needed.get(function, (first, last))
        self.needed[function] = (min(low, first), max(high, last))

    def __len__(self) -> int:
        return len(self.positions)


def patch_axis(patch_size: int) -> Axis:
    """The patch itself: one function, the section, at every shift."""
    return Axis(tuple(Position(0, shift) for shift in range(patch_size)), ((),), (False,))


def padded(axis: Axis, before: int, after: int) -> Axis:
    """The axis with constant positions before and after it; negative numbers take positions off."""
    inner = axis.positions[max(0, -before) : len(axis) - max(0, -after)]
    pad = Position(len(axis.functions), 0)
    positions = (pad,) * before + inner + (pad,) * after
    itself = tuple((Tap(0, 0, function, 0),) for function in range(len(axis.functions)))
    return Axis(positions, (*itself, ()), (*axis.constant, True))


def axis_after(sources: Sequence[Axis], reads: Iterable[Sequence[Read]]) -> Axis:
    """The axis of a layer of which position after position reads `reads`. What it does not read counts for nothing."""
    numbers: dict[tuple[Tap, ...], int] = {}
    positions = []
    for position in reads:
        begin, taps = _taps(sources, position)
        positions.append(Position(numbers.setdefault(taps, len(numbers)), begin))
    constant = tuple(all(sources[tap.source].constant[tap.function] for tap in taps) for taps in numbers)
    return Axis(tuple(positions), tuple(numbers), constant)


def _taps(sources: Sequence[Axis], reads: Sequence[Read]) -> tuple[int, tuple[Tap, ...]]:
    """Where a position begins, and what it reads from there."""
    found = [(read, sources[read.source].positions[read.position]) for read in reads]
    varying = [at.shift for read, at in found if not sources[read.source].constant[at.function]]
    begin = min(varying, default=0)
    return begin, tuple(
        Tap(
            read.source,
            read.tap,
            at.function,
            0 if sources[read.source].constant[at.function] else at.shift - begin,
        )
        for read, at in found
    )


def pass_needs_on(axis: Axis, sources: Sequence[Axis]) -> None:
    """Have the sources reach as far as what reads them."""
    for function, (first, last) in axis.needed.items():
        for tap in axis.functions[function]:
            if not sources[tap.source].constant[tap.function]:
                sources[tap.source].need(tap.function, first + tap.shift, last + tap.shift)


class Run(NamedTuple):
    """Taps on one function at regular shifts: a kernel's rows or columns, dilated."""

    function: int
    taps: tuple[int, ...]
    first: int
    last: int

    @property
    def dilation(self) -> int:
        """Samples between one tap and the next."""
        return (self.last - self.first) // (len(self.taps) - 1) if len(self.taps) > 1 else 1


def runs(taps: Sequence[Tap]) -> Iterator[Run]:
    """The taps, function by function, as few regular runs."""
    for function in dict.fromkeys(tap.function for tap in taps):
        run: list[Tap] = []
        for tap in sorted((tap for tap in taps if tap.function == function), key=lambda tap: tap.shift):
            step = tap.shift - run[-1].shift if run else 1
            if step == 0 or (len(run) > 1 and step != run[1].shift - run[0].shift):
                yield _run(run)
                run = []
            run.append(tap)
        yield _run(run)


def _run(run: Sequence[Tap]) -> Run:
    return Run(run[0].function, tuple(tap.tap for tap in run), run[0].shift, run[-1].shift)
