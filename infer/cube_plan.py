"""What a run over a whole survey computes: which samples, in which blocks, and what it must not mix up."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from infer import _segy
from infer.errors import OptionError, OutputError
from infer.files import check_folder
from infer.journal import CHANGED
from infer.models import load_model
from infer.region import Box, Region, colon
from infer.section import LineKind
from infer.sessions import Engine, Model
from infer.survey import Survey, open_survey

FACIES, CONFIDENCE, PROBABILITY = "facies", "confidence", "probability_"

LINES = 8
"""Lines a block: what a kill loses at most. Neighbouring crosslines are read together; a .zarr has as many a chunk."""
BOTH_BYTES = 300 * 1024 * 1024
"""At most so much for the probabilities of a block that is classified along both directions."""
SPARSE = 0.5
"""Lines with traces at fewer of their places are worth a warning."""
FEW_SAMPLES = 4
"""Up to so many samples a trace patches are quicker than slices, for patches that are no wider than 128: a slice model
also computes what lies above and below them."""
KEEPING = "with --keep-partial"
VERSION = 1


class Block(NamedTuple):
    """A part of the survey that is computed and written as one: indices of its inlines and crosslines."""

    number: int
    inlines: range
    crosslines: range


@dataclass(frozen=True)
class CubeRequest:
    """What is asked for. It can be pickled, so that other machines may do a part of it."""

    cube: Path
    out: Path
    model: str = "waldeland"
    along: str = "inline"  # or crossline, or both
    region: Region = field(default_factory=Region)
    confidence: bool = False
    probabilities: tuple[str, ...] = ()  # of these facies, by name
    clip: float | None = None
    device: str = "auto"
    engine: str = "auto"
    workers: int | None = None
    inline_byte: int | None = None
    crossline_byte: int | None = None
    keep_partial: bool = False


class Plan:
    """A request, with its survey and its model at hand."""

    def __init__(self, request: CubeRequest) -> None:
        """Open the survey and load the model.

        Raises OptionError: no such direction, facies or number of workers. Otherwise what `open_survey` and
        `load_model` raise.
        """
        if request.along not in ("inline", "crossline", "both"):
            raise OptionError(f"A cube is classified along inline, crossline or both, not '{request.along}'.")
        if request.workers is not None and request.workers < 1:
            raise OptionError(f"At least one worker computes, so {request.workers} workers make no sense.")
        self.request = request
        self.survey: Survey = open_survey(
            request.cube, inline_byte=request.inline_byte, crossline_byte=request.crossline_byte
        )
        self.box: Box = request.region.box(self.survey)
        self.model: Model = load_model(request.model, request.device, request.engine)
        if request.workers is not None:
            self.model.workers = request.workers
        self.clip = self.survey.amplitude_clip if request.clip is None else request.clip
        both: tuple[LineKind, LineKind] = ("inline", "crossline")
        self.directions = tuple(kind for kind in both if request.along in (kind, "both"))
        names = self.model.card.facies_names
        for facies in request.probabilities:
            if facies not in names:
                raise OptionError(f"{self.model.card.name} has no facies '{facies}': it has {', '.join(names)}.")
        self.quantities: dict[str, np.dtype[Any]] = {FACIES: np.dtype(np.int8)}
        if request.confidence:
            self.quantities[CONFIDENCE] = np.dtype(np.float32)
        for facies in dict.fromkeys(request.probabilities):
            self.quantities[PROBABILITY + facies] = np.dtype(np.float32)
        if len({name_of_file(name) for name in self.quantities}) < len(self.quantities):
            raise OptionError(
                f"Two of the facies {', '.join(request.probabilities)} have the same name but for letters that file "
                "names cannot have: ask for one at a time."
            )
        self.silenced = False  # whether there was any in what was read so far
        self.block_shape = self._block_shape()
        self.blocks = list(self._blocks())

    @property
    def engine(self) -> Engine:
        """Which engine classifies: the quicker one for that many samples."""
        few = len(self.box.samples) <= FEW_SAMPLES and self.model.card.patch_size <= 128
        return "patch" if few and self.model.has("patch") else self.model.engine()

    @property
    def lines(self) -> int:
        """How many lines are classified in all; along both directions, each counts for itself."""
        n_inlines, n_crosslines, _ = self.box.shape
        return {"inline": n_inlines, "crossline": n_crosslines, "both": n_inlines + n_crosslines}[self.request.along]

    def sparse(self, *, other_way: str = "") -> Iterator[str]:
        """A sentence on every direction along which lines have too few traces to see surroundings in.

        other_way: the option that chooses another direction, to be named where that one has them.
        """
        both: tuple[LineKind, LineKind] = ("inline", "crossline")
        filled = {kind: self._filled(kind) for kind in both}
        for kind in self.directions:
            if filled[kind] < SPARSE:
                full = [other for other in both if filled[other] >= SPARSE] if other_way else []
                others = [f" Along {other}s they have more: `{other_way} {other}`." for other in full]
                yield (
                    f"Along {kind}s a line has traces at {filled[kind]:.1%} of its places on average: what is "
                    f"classified there is mostly silence.{''.join(others)}"
                )

    def odd_samples(self) -> Iterator[str]:
        """A sentence where samples that were read are no amplitudes."""
        if self.silenced:
            yield "Some of its samples are no amplitudes (NaN, infinite, 1e30): taken as silence."

    def _filled(self, kind: LineKind) -> float:
        """The share of the places of asked lines that have traces, among lines that have any."""
        survey, box = self.survey, self.box
        numbers, lines, asked, places = {
            "inline": (survey.inline_of_trace, survey.inlines, box.inlines, survey.crosslines.count),
            "crossline": (survey.crossline_of_trace, survey.crosslines, box.crosslines, survey.inlines.count),
        }[kind]
        traces = np.bincount((numbers - lines.first) // lines.step, minlength=lines.count)[asked.start : asked.stop]
        return float(traces[traces > 0].mean() / places) if traces.any() else 1.0

    def window(self, block: Block, kind: LineKind) -> range:
        """What is read of a block's lines: indices of their crossing axis, as far as patches reach and farther."""
        across, lines = (
            (block.crosslines, self.survey.crosslines) if kind == "inline" else (block.inlines, self.survey.inlines)
        )
        size = self.model.card.patch_size
        return range(max(0, across.start - size), min(lines.count, across.stop + size))

    def within(self, block: Block, kind: LineKind) -> slice:
        """Where the block's own traces are in what is read of its lines."""
        across, first = block.crosslines if kind == "inline" else block.inlines, self.window(block, kind).start
        return slice(across.start - first, across.stop - first)

    def describe(self) -> dict[str, Any]:
        """All that a run must have in common with one that it goes on with, as JSON."""
        card, request = self.model.card, self.request
        numbers = [self.survey.inlines.numbers(), self.survey.crosslines.numbers()]
        parts = self.box.inlines, self.box.crosslines
        lines = [(int(of[part.start]), int(of[part.stop - 1])) for of, part in zip(numbers, parts, strict=True)]
        samples, times = self.box.samples, self.survey.twt_ms
        twt_ms = float(times[samples.start]), float(times[samples.stop - 1])
        return {
            "source": f"{self.survey.path.name} ({_digest_of_survey(self.survey)})",
            CHANGED: _last_change(self.survey.file.place),
            "model": f"{card.name} ({hashlib.sha256(card.to_json().encode()).hexdigest()[:16]})",
            "engine": f"{self.engine} on {self.model.device.kind}",
            "direction": request.along,
            "region": f"inlines={colon(lines[0])},crosslines={colon(lines[1])},twt={colon(twt_ms)}",
            "amplitude_clip": self.clip,
            "output": [request.out.name, *self.quantities],
            "run": KEEPING if request.keep_partial else "without --keep-partial",
            "version": [VERSION, *self.block_shape],
        }

    def _block_shape(self) -> tuple[int, int]:
        """Inlines and crosslines of a block, at most."""
        n_inlines, n_crosslines, n_samples = self.box.shape
        if self.request.along == "inline":
            return LINES, n_crosslines
        if self.request.along == "crossline":
            return n_inlines, LINES
        of_one = 4 * len(self.model.card.facies_names) * n_samples
        side = int((BOTH_BYTES / of_one) ** 0.5) // 32 * 32
        return (min(256, max(32, side)),) * 2

    def _blocks(self) -> Iterator[Block]:
        tall, wide = self.block_shape
        inlines, crosslines = self.box.inlines, self.box.crosslines
        starts = ((i, x) for i in range(0, len(inlines), tall) for x in range(0, len(crosslines), wide))
        for number, (i, x) in enumerate(starts):
            yield Block(number, inlines[i : i + tall], crosslines[x : x + wide])


def outputs_of(out: Path, quantities: dict[str, Any]) -> dict[str, Path]:
    """The file of every quantity: facies in `out`, the others in files of their own beside it where it is SEG-Y.

    Raises OutputError: the suffix is neither of SEG-Y nor .zarr or one of confidences, or the folder cannot be written
    to.
    """
    suffix = out.suffix.lower()
    if suffix not in (".sgy", ".segy", ".zarr"):
        raise OutputError(f"{out.name}: the suffix says what to write, and of a whole survey that is .sgy or .zarr.")
    beside = re.fullmatch(rf"(.+)\.({CONFIDENCE}|{PROBABILITY}.+)", out.stem, re.IGNORECASE)
    if suffix != ".zarr" and beside:
        what = CONFIDENCE if beside[2].lower() == CONFIDENCE else PROBABILITY.strip("_")
        raise OutputError(
            f"{out.name} is the name of a {what}, and OUT that of the facies: `{beside[1]}{out.suffix} --{what}` "
            "writes both."
        )
    if suffix == ".zarr":
        check_folder(out)
        return dict.fromkeys(quantities, out)
    files = {name: out.with_name(f"{out.stem}.{name_of_file(name)}{out.suffix}") for name in quantities}
    files |= {FACIES: out}
    for path in files.values():
        check_folder(path)
    return files


def name_of_file(quantity: str) -> str:
    """The quantity's name as files and arrays have it: a facies' own may hold what they cannot.

    >>> name_of_file("probability_sand/shale: 50 %")
    'probability_sand_shale_ 50 %'
    """
    return re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", quantity)


def partial_of(path: Path, *, visible: bool) -> Path:
    """Where a file is written to until it is whole."""
    return path.with_name(f"{path.stem}.partial{path.suffix}" if visible else f".{path.name}.partial")


def _last_change(path: Path) -> str:
    """Of a file, in UTC, to the second: samples that no digest has looked at may have changed."""
    return f"{datetime.fromtimestamp(int(path.stat().st_mtime), timezone.utc):%Y-%m-%dT%H:%M:%SZ}"


def _digest_of_survey(survey: Survey) -> str:
    """Of headers, geometry and some of the samples: another file of the same size does not have it."""
    digest = hashlib.sha256(survey.file.preamble())
    for part in (survey.inline_of_trace, survey.crossline_of_trace):
        digest.update(np.ascontiguousarray(part).tobytes())
    digest.update(survey.file.sample_bytes(_segy.spread(survey.n_traces, 50)).tobytes())
    return digest.hexdigest()[:16]
