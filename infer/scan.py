"""What a SEG-Y file is, in words an interpreter uses: lines, times, traces, coordinates, amplitudes, what is odd."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infer import _segy
from infer._segy import Field, factors, spread, text_header
from infer.amplitude import is_live, silence
from infer.section import LineKind
from infer.survey import LineRange, Survey, places

EXACT_BYTES = 4 << 30
"""Files up to this size are read whole; of larger ones, traces spread over the file speak for the rest."""
SPREAD_TRACES = 20_000

FIELDS = {
    "samples": _segy.SAMPLES,
    "cdp_x": _segy.CDP_X,
    "cdp_y": _segy.CDP_Y,
    "source_x": _segy.SOURCE_X,
    "source_y": _segy.SOURCE_Y,
    "scalar": _segy.COORDINATE_SCALAR,
    "unit": Field(89, "i2"),
}


@dataclass(frozen=True)
class Amplitudes:
    """A summary of the samples of live traces."""

    minimum: float
    maximum: float
    mean: float
    rms: float
    undefined: int
    """Samples that are NaN, infinite or 1e30 and more, on any trace."""


@dataclass(frozen=True)
class Coordinates:
    """Where the survey lies, in the units of its coordinates (see `unit`)."""

    source: str
    unit: str
    x: tuple[float, float]
    y: tuple[float, float]
    inline_spacing: float | None
    """Distance between neighbouring inlines; None where the headers do not tell."""
    crossline_spacing: float | None


@dataclass(frozen=True)
class ScanReport:
    """What `scan` found."""

    path: str
    description: str
    inlines: LineRange
    crosslines: LineRange
    n_samples: int
    first_twt_ms: float
    sample_interval_ms: float
    n_traces: int
    n_missing: int
    n_dead: int
    n_duplicate: int
    exact: bool
    """False: dead traces and amplitudes are estimates from traces spread over a very large file."""
    number_format: str
    sorting: str
    coordinates: Coordinates | None
    amplitudes: Amplitudes
    amplitude_clip: float
    warnings: tuple[str, ...]
    next_command: str  # empty where there is nothing to classify

    @property
    def last_twt_ms(self) -> float:
        """The last sample's two-way time."""
        return self.first_twt_ms + (self.n_samples - 1) * self.sample_interval_ms

    def to_dict(self) -> dict[str, Any]:
        """The report as `infer scan --json` prints it."""
        return {
            "path": self.path,
            "description": self.description,
            "inlines": asdict(self.inlines),
            "crosslines": asdict(self.crosslines),
            "samples": {
                "count": self.n_samples,
                "first_twt_ms": self.first_twt_ms,
                "last_twt_ms": self.last_twt_ms,
                "interval_ms": self.sample_interval_ms,
            },
            "traces": {
                "total": self.n_traces,
                "missing": self.n_missing,
                "dead": self.n_dead,
                "duplicate": self.n_duplicate,
            },
            "format": self.number_format,
            "sorting": self.sorting,
            "coordinates": asdict(self.coordinates) if self.coordinates else None,
            "amplitudes": asdict(self.amplitudes),
            "amplitude_clip": self.amplitude_clip,
            "warnings": list(self.warnings),
            "next_command": self.next_command,
        }


def scan(survey: Survey) -> ScanReport:
    """Read the survey through once, some MB at a time, and say what it is.

    Dead traces and amplitudes are exact up to 4 GB and estimated beyond. Raises SurveyError: the file cannot be read.
    """
    exact = survey.file.n_traces * survey.file.trace_bytes <= EXACT_BYTES
    contents = _read_through(survey) if exact else _sample(survey)
    return ScanReport(
        path=str(survey.path),
        description=_description(survey),
        inlines=survey.inlines,
        crosslines=survey.crosslines,
        n_samples=survey.n_samples,
        first_twt_ms=survey.first_twt_ms,
        sample_interval_ms=survey.sample_interval_ms,
        n_traces=survey.n_traces,
        n_missing=survey.n_missing,
        n_dead=contents.n_dead,
        n_duplicate=survey.n_duplicate,
        exact=exact,
        number_format=survey.number_format,
        sorting=_sorting(survey),
        coordinates=_coordinates(survey, contents.columns),
        amplitudes=contents.amplitudes,
        amplitude_clip=survey.amplitude_clip,
        warnings=(*survey.warnings, *_oddities(survey, contents)),
        next_command=_next_command(survey, contents.live),
    )


def describe(report: ScanReport) -> str:
    """The report as a page of text."""
    rows = [
        ("inlines", _lines(report.inlines)),
        ("crosslines", _lines(report.crosslines)),
        ("samples", _samples(report)),
        ("traces", _traces(report)),
        ("coordinates", _where(report.coordinates)),
        ("amplitudes", _amplitudes(report)),
        *(("odd", warning) for warning in report.warnings),
        *([("next", report.next_command)] if report.next_command else []),
    ]
    return "\n".join([f"{report.path}: {report.description}", *(f"  {name:<12} {text}" for name, text in rows)])


# Words


def _description(survey: Survey) -> str:
    major, minor = survey.file.binary.revision
    encoding = text_header(survey.file.place)[1]
    revision = f"{major}.{minor}" if minor else str(major)
    return f"SEG-Y rev {revision}, {survey.number_format}, {encoding} text header"


def _lines(lines: LineRange) -> str:
    if lines.count == 1:
        return f"only {lines.first}"
    return f"{lines.first} to {lines.last}, step {lines.step}: {lines.count:,}"


def _samples(report: ScanReport) -> str:
    return (
        f"{report.n_samples:,} every {report.sample_interval_ms:g} ms, "
        f"from {report.first_twt_ms:g} to {report.last_twt_ms:g} ms"
    )


def _traces(report: ScanReport) -> str:
    dead = f"{report.n_dead:,}" if report.exact or not report.n_dead else f"about {report.n_dead:,}"
    return (
        f"{report.n_traces:,} ({report.sorting}): {report.n_missing:,} missing on the grid, {dead} dead, "
        f"{report.n_duplicate:,} duplicate"
    )


def _where(coordinates: Coordinates | None) -> str:
    if coordinates is None:
        return "none in the trace headers"
    (x0, x1), (y0, y1) = coordinates.x, coordinates.y
    # .12g: seven digits of metres and their decimals, and no exponent
    words = f"{coordinates.source} X {x0:.12g} to {x1:.12g}, Y {y0:.12g} to {y1:.12g} {coordinates.unit}"
    for kind, spacing in (("inlines", coordinates.inline_spacing), ("crosslines", coordinates.crossline_spacing)):
        if spacing is not None:
            words += f"; {kind} {spacing:.4g} {coordinates.unit} apart"
    return words


def _amplitudes(report: ScanReport) -> str:
    a = report.amplitudes
    return (
        f"{a.minimum:.6g} to {a.maximum:.6g}, mean {a.mean:.3g}, rms {a.rms:.4g}, "
        f"clip (99 %) {report.amplitude_clip:.6g}; {a.undefined:,} NaN, infinite or undefined"
    )


# Samples


@dataclass(frozen=True, eq=False)
class _Contents:
    """What the file's traces hold."""

    columns: dict[str, NDArray[Any]]  # FIELDS, [trace] each
    live: NDArray[np.bool_]  # [trace]; traces that were not read are taken for live unless declared dead
    n_measured: int  # traces that were read
    n_dead: int
    amplitudes: Amplitudes


def _read_through(survey: Survey) -> _Contents:
    """Headers and samples of every trace, from one pass over the file."""
    file, tally, live = survey.file, _Tally(), ~survey.declared_dead
    columns = file.empty_columns(FIELDS)
    for first, headers, amplitude in file.blocks():
        file.fill(columns, FIELDS, first, headers)
        block = slice(first, first + len(headers))
        live[block] = tally.add(amplitude, live[block])
    return _Contents(columns, live, tally.n_traces, *tally.result(1.0))


def _sample(survey: Survey) -> _Contents:
    """Headers of every trace, and the samples of traces spread over the file."""
    file, tally, live = survey.file, _Tally(), ~survey.declared_dead
    traces = spread(survey.n_traces, SPREAD_TRACES)
    for piece in np.array_split(traces, max(1, len(traces) * file.trace_bytes // _segy.BLOCK_BYTES)):
        live[piece] = tally.add(file.amplitude(piece), live[piece])
    return _Contents(file.columns(FIELDS), live, tally.n_traces, *tally.result(survey.n_traces / tally.n_traces))


@dataclass
class _Tally:
    """Sums over the traces that were added."""

    n_traces: int = 0
    n_dead: int = 0
    undefined: int = 0
    n_samples: int = 0
    total: float = 0.0
    squares: float = 0.0
    low: float = np.inf
    high: float = -np.inf

    def add(self, amplitude: NDArray[np.float32], not_declared_dead: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Count these traces, `[trace, sample]`, and return which are live; undefined samples are silenced in place."""
        self.undefined += silence(amplitude)
        live = is_live(amplitude) & not_declared_dead
        self.n_traces += len(live)
        self.n_dead += int(np.count_nonzero(~live))
        if live.any():
            alive = amplitude if live.all() else amplitude[live]
            self.n_samples += alive.size
            self.total += float(alive.sum(dtype=np.float64))
            self.squares += float(np.einsum("ij,ij->", alive, alive, dtype=np.float64))
            self.low, self.high = min(self.low, float(alive.min())), max(self.high, float(alive.max()))
        return live

    def result(self, scale: float) -> tuple[int, Amplitudes]:
        """Dead traces, and the amplitudes of the live ones; counts times `scale`."""
        low, high = (self.low, self.high) if self.n_samples else (0.0, 0.0)
        mean, mean_square = self.total / max(self.n_samples, 1), self.squares / max(self.n_samples, 1)
        amplitudes = Amplitudes(low, high, mean, float(np.sqrt(mean_square)), round(self.undefined * scale))
        return round(self.n_dead * scale), amplitudes


def _oddities(survey: Survey, contents: _Contents) -> Iterator[str]:
    """What the survey's own warnings do not know yet."""
    amplitudes = contents.amplitudes
    if contents.n_measured < survey.n_traces:
        yield (
            f"The file is very large: dead traces and amplitudes are estimates from {contents.n_measured:,} traces "
            "spread over it."
        )
    if contents.n_dead == survey.n_traces:
        yield "All traces are dead: there is nothing to classify."
    if amplitudes.undefined:
        yield f"{amplitudes.undefined:,} samples are NaN, infinite or undefined (1e30), and are taken as silence."
    if abs(amplitudes.mean) > 0.5 * amplitudes.rms > 0:
        yield (
            f"The amplitudes are centred on {amplitudes.mean:.4g}, not on 0, and are used as they are: "
            "models expect seismic reflections, which swing around 0."
        )
    stated = np.unique(contents.columns["samples"])
    stated = stated[(stated != 0) & (stated != survey.n_samples)]
    if len(stated) == 1:
        yield f"Trace headers give {int(stated[0]):,} samples per trace; there are {survey.n_samples:,}."
    elif len(stated):
        yield f"Trace headers give {int(stated[0]):,} to {int(stated[-1]):,} samples; there are {survey.n_samples:,}."


# Places


def _sorting(survey: Survey) -> str:
    """Which line number changes more slowly through the file."""
    if survey.n_traces < 2:
        return "a single trace"
    inline = np.count_nonzero(np.diff(survey.inline_of_trace))
    crossline = np.count_nonzero(np.diff(survey.crossline_of_trace))
    return "inline by inline" if inline <= crossline else "crossline by crossline"


def _coordinates(survey: Survey, columns: dict[str, NDArray[Any]]) -> Coordinates | None:
    """The traces' coordinates: CDP X and Y (rev 1), else the source's."""
    sources = {"CDP": ("cdp_x", "cdp_y"), "source": ("source_x", "source_y")}
    numbers = {survey.inline_byte, survey.crossline_byte}
    for source, (x_name, y_name) in sources.items():
        if {FIELDS[x_name].byte, FIELDS[y_name].byte} == numbers or not columns[x_name].any() | columns[y_name].any():
            continue
        factor = factors(columns["scalar"])
        return _fit_lines(
            survey, source, _unit(survey, columns["unit"]), columns[x_name] * factor, columns[y_name] * factor
        )
    return None


def _unit(survey: Survey, unit: NDArray[np.int16]) -> str:
    """The coordinates' unit, by bytes 89-90 and the binary header's measurement system."""
    commonest = int(np.bincount(np.clip(unit, 0, 4)).argmax())
    if commonest == 2:
        return "seconds of arc"
    if commonest == 3:
        return "degrees"
    return "ft" if survey.file.binary.measurement_system == 2 else "m"


def _fit_lines(survey: Survey, source: str, unit: str, x: NDArray[np.float64], y: NDArray[np.float64]) -> Coordinates:
    """Ranges, and the spacing of lines by the plane that fits coordinates best over line numbers."""
    every = spread(survey.n_traces, 100_000)
    lines = np.stack([survey.inline_of_trace[every], survey.crossline_of_trace[every]], axis=1).astype(np.float64)
    plane = np.column_stack([lines - lines.mean(axis=0), np.ones(len(every))])
    position = np.stack([x[every], y[every]], axis=1)
    slope, _, rank, _ = np.linalg.lstsq(plane, position - position.mean(axis=0), rcond=None)
    misfit = np.hypot(*(position - position.mean(axis=0) - plane @ slope).T)
    spacing = [float(np.hypot(*slope[0])) * survey.inlines.step, float(np.hypot(*slope[1])) * survey.crosslines.step]
    n_axes = (survey.inlines.count > 1) + (survey.crosslines.count > 1)
    # Degrees are no distance, and an arbitrary line bends.
    honest = unit in ("m", "ft") and rank == 1 + n_axes and np.sqrt(np.mean(misfit**2)) <= max(spacing)
    known = [
        s if honest and lines.count > 1 and s > 0 else None
        for s, lines in zip(spacing, (survey.inlines, survey.crosslines), strict=True)
    ]
    return Coordinates(source, unit, (float(x.min()), float(x.max())), (float(y.min()), float(y.max())), *known)


# What to try next


def _next_command(survey: Survey, live: NDArray[np.bool_]) -> str:
    """`infer slice` for the line with the most live traces, near the middle; a crossline if it is long enough."""
    if not live.any():
        return ""
    (n_crossline, crossline), (n_inline, inline) = (_fullest(survey, kind, live) for kind in ("crossline", "inline"))
    line = f"--crossline {crossline}" if min(n_crossline, 100) >= min(n_inline, 100) else f"--inline {inline}"
    return survey.command("slice", line)


def _fullest(survey: Survey, kind: LineKind, live: NDArray[np.bool_]) -> tuple[int, int]:
    """How many places of a line have live traces at most, and the line nearest the middle that has so many."""
    lines, along, across = survey.inlines, survey.inline_of_trace, survey.crossline_of_trace
    if kind == "crossline":
        lines, along, across = survey.crosslines, across, along
    numbers, counts = np.unique(np.unique(places(along[live], across[live])) >> 32, return_counts=True)
    fullest = numbers[counts == counts.max()]
    middle = (lines.first + lines.last) / 2
    return int(counts.max()), int(fullest[np.argmin(np.abs(fullest - middle))])
