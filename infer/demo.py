"""The synthetic survey: its geology, the seismic that it gives, its true facies, and picks on one inline.

The geology is a column of layered units, folded, thinned over a salt diapir that pierces it, and cut by normal faults.
A sample's *age* is where it lies in the undeformed column. Layers are functions of age, so whatever moves age (folds,
throw, drag along the salt) moves reflections and facies together, as in the ground.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from segyio import BinField, TraceField

from infer.errors import OptionError, OutputError
from infer.files import replacing
from infer.section import NO_DATA

_TITLE, _FORMAT = slice(80), slice(3224, 3226)  # bytes of a file header

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Codes = NDArray[np.int8]

INLINES = range(200, 440)
CROSSLINES = range(400, 632)
SAMPLES = 256
SAMPLE_INTERVAL_MS = 4
FIRST_TWT_MS = 4
DEMO_INLINE = 300
"""The inline that carries the picks. All nine facies are on it, as they are on crossline 500."""


class Facies(IntEnum):
    """The facies of the demo: those of MalenoV's picks on F3's inline 339, in their order."""

    ELSE = 0
    GRIZZLY = 1
    HIGH_AMP_CONTINUOUS = 2
    HIGH_AMPLITUDE = 3
    LOW_AMP_DIPS = 4
    LOW_AMPLITUDE = 5
    LOW_COHERENCY = 6
    SALT = 7
    STEEP_DIPS = 8


@dataclass(frozen=True)
class Texture:
    """How strong a facies' layers are, and how strong the noise in it."""

    gain: float
    noise: float


TEXTURES = {
    Facies.ELSE: Texture(1.25, 0.22),
    Facies.GRIZZLY: Texture(2.1, 0.2),
    Facies.HIGH_AMP_CONTINUOUS: Texture(2.2, 0.16),
    Facies.HIGH_AMPLITUDE: Texture(2.1, 0.2),
    Facies.LOW_AMP_DIPS: Texture(0.4, 0.1),
    Facies.LOW_AMPLITUDE: Texture(0.28, 0.09),
    Facies.LOW_COHERENCY: Texture(0.4, 1.0),
    Facies.SALT: Texture(0.0, 0.05),
    Facies.STEEP_DIPS: Texture(1.4, 0.22),
}
GAIN = np.array([TEXTURES[facies].gain for facies in Facies])
NOISE = np.array([TEXTURES[facies].noise for facies in Facies])


@dataclass(frozen=True)
class Unit:
    """One unit of the undeformed column, in samples."""

    facies: Facies
    base: float
    uplift: float  # of its base, over the salt


COLUMN_TOP = -30.0
COLUMN = (
    Unit(Facies.LOW_COHERENCY, 38, 2),
    Unit(Facies.ELSE, 66, 8),
    Unit(Facies.HIGH_AMP_CONTINUOUS, 92, 14),
    Unit(Facies.LOW_AMP_DIPS, 128, 24),
    Unit(Facies.LOW_AMPLITUDE, 155, 34),
    Unit(Facies.GRIZZLY, 187, 46),
    Unit(Facies.HIGH_AMPLITUDE, 219, 56),
    Unit(Facies.ELSE, 380, 80),
)
UNIT_FACIES = np.array([unit.facies for unit in COLUMN], np.int8)


@dataclass(frozen=True)
class Fault:
    """A normal fault: a plane, a little bent, that dips towards the side that went down."""

    inline: float  # a point of its trace at the surface
    crossline: float
    normal: tuple[float, float]  # (inline, crossline), towards the downthrown side; of length 1
    dip: float  # traces a sample
    throw: float  # samples, at most


FAULTS = (
    Fault(350, 500, (0.89, 0.456), 0.18, 9),
    Fault(236, 560, (-0.8, -0.6), 0.15, 12),
)

SALT_INLINE, SALT_CROSSLINE = 318.0, 530.0
SALT_RADIUS = 36.0  # traces, deep down
SALT_CREST = 116.0  # sample
SALT_RIM = 7.0  # traces
FLANK = 23.0  # traces
SCALE = 1000.0  # numbers a unit of amplitude


@dataclass(frozen=True)
class DemoFiles:
    """What `write_demo` wrote."""

    survey: Path
    facies: Path
    picks: Path


# --- smooth random fields ---------------------------------------------------------------------------------------------


def _spline(knots: Floats, position: Floats, axis: int) -> Floats:
    """Cubic B-spline through `knots` along `axis`, at positions counted in knots.

    Scaled so that independent knots of variance 1 give variance 1 everywhere. Four products and sums a position,
    since a matrix product would round differently from machine to machine.
    """
    first = position.astype(np.intp)
    f = position - first
    weights = np.stack([(1 - f) ** 3, 3 * f**3 - 6 * f**2 + 4, -3 * f**3 + 3 * f**2 + 3 * f + 1, f**3])
    weights /= np.sqrt((weights**2).sum(axis=0))
    shape = [-1 if a == axis else 1 for a in range(knots.ndim)]
    value: Floats = np.take(knots, first, axis) * weights[0].reshape(shape)
    for k in range(1, 4):
        value += np.take(knots, first + k, axis) * weights[k].reshape(shape)
    return value


class Field:
    """A smooth random field over the survey, variance 1, worked out one inline at a time: `[trace, sample]`."""

    def __init__(self, rng: np.random.Generator, traces: float, samples: float) -> None:
        """Its knots are `traces` and `samples` apart."""
        self.positions = (
            np.arange(len(INLINES)) / traces,
            np.arange(len(CROSSLINES)) / traces,
            np.arange(SAMPLES) / samples,
        )
        self.knots = rng.standard_normal([int(position[-1]) + 4 for position in self.positions])

    def __getitem__(self, index: int) -> Floats:
        inline, crossline, sample = self.positions
        first = int(inline[index])
        plane = _spline(self.knots[first : first + 4], inline[index : index + 1] - first, 0)[0]
        return _spline(_spline(plane, crossline, 0), sample, 1)


def _surface(rng: np.random.Generator, traces: float) -> Floats:
    """A smooth random surface over the survey, `[inline, crossline]`, variance 1; knots are `traces` apart."""
    inline, crossline = np.arange(len(INLINES)) / traces, np.arange(len(CROSSLINES)) / traces
    knots = rng.standard_normal((int(inline[-1]) + 4, int(crossline[-1]) + 4))
    return _spline(_spline(knots, inline, 0), crossline, 1)


def _ramp(value: Floats) -> Floats:
    """0 below 0, 1 above 1, smooth between."""
    value = np.clip(value, 0, 1)
    return value * value * (3 - 2 * value)


# --- geology ----------------------------------------------------------------------------------------------------------


class Layers:
    """Impedance as a function of age: beds of random thickness and strength, each resting on the one below."""

    def __init__(
        self, rng: np.random.Generator, thickness: float, weakest: float, ages: tuple[float, float] = (-60, 480)
    ) -> None:
        """Beds are `thickness` samples thick on average, and from `weakest` to 1 strong."""
        tops = ages[0] + np.cumsum(thickness * rng.uniform(0.5, 1.5, int((ages[1] - ages[0]) / thickness)))
        # Hard and soft beds alternate, else neighbours would often be alike and the section empty in places.
        strength = rng.uniform(weakest, 1, tops.size) * np.where(np.arange(tops.size) % 2, 1, -1)
        self.age = np.stack([tops, np.append(tops[1:], tops[-1] + thickness) - 1.0], axis=1).ravel()
        self.impedance = np.repeat(strength + (1 - weakest) / 3 * rng.standard_normal(tops.size), 2)

    def __getitem__(self, age: Floats) -> Floats:
        impedance: Floats = np.interp(age, self.age, self.impedance)
        return impedance


@dataclass(frozen=True)
class Ground:
    """What the geology is on one inline; all arrays `[trace, sample]`."""

    facies: Codes
    impedance: Floats
    noise: Floats
    near_fault: Mask


class Geology:
    """The ground under the survey."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.inline, self.crossline = np.meshgrid(np.array(INLINES, float), np.array(CROSSLINES, float), indexing="ij")
        self.horizons = self._fold(rng)  # [horizon, inline, crossline]
        self.salt_distance = self._distance_to_axis() * (1 + 0.05 * _surface(rng, 45))
        self.beds, self.strong_beds = Layers(rng, 3.9, 0.25), Layers(rng, 4.5, 0.75)
        self.foresets = Layers(rng, 4.8, 0.25, (-400, 900))
        self.sands = Field(rng, 8, 5)
        self.front, self.strike = _surface(rng, 60), _surface(rng, 40)
        self.salt_wobble = Field(rng, 14, 24)
        self.hummocks, self.blocks = Field(rng, 4.5, 8), Field(rng, 2.2, 9)
        self.shreds, self.breaks = Field(rng, 2.0, 4), Field(rng, 5, 6)
        self.bed_strength = Field(rng, 28, 7)
        self.dead = self._dead_traces(rng)

    def _distance_to_axis(self) -> Floats:
        """Traces to the diapir's axis, `[inline, crossline]`; the body is a little longer along the inlines' axis."""
        inline, crossline = (self.inline - SALT_INLINE) / 1.08, (self.crossline - SALT_CROSSLINE) / 0.97
        distance: Floats = np.sqrt(inline**2 + crossline**2)
        return distance

    def _fold(self, rng: np.random.Generator) -> Floats:
        """Where the units' tops lie, in samples: folds grow with age, and the diapir has lifted its roof."""
        fold, tilt = _surface(rng, 75), (self.crossline - 516) / 116 - (self.inline - 320) / 120
        dome = np.exp(-((self._distance_to_axis() / 62) ** 2))
        horizons = [np.full(fold.shape, COLUMN_TOP)]
        for unit in COLUMN:
            growth = min(unit.base / 200, 1.2)
            own = 1.6 * _surface(rng, 42) + 0.35 * _surface(rng, 11)
            horizon = unit.base + growth * (5 * fold + 2 * tilt) + own - unit.uplift * dome
            horizons.append(np.maximum(horizon, horizons[-1] + 8))
        return np.stack(horizons)

    def _dead_traces(self, rng: np.random.Generator) -> Mask:
        """`[inline, crossline]`: the corner that was never shot, as on F3, and a few bad traces."""
        dead: Mask = (INLINES[-1] - self.inline) / 50 + (self.crossline - CROSSLINES[0]) / 165 < 1
        dead[rng.integers(0, len(INLINES), 14), rng.integers(0, len(CROSSLINES), 14)] = True
        for inline, crossline in ((DEMO_INLINE, 447), (233, 500), (356, 500)):
            dead[inline - INLINES[0], crossline - CROSSLINES[0]] = True
        return dead

    def on_inline(self, index: int) -> Ground:
        """The geology on the inline at `index`."""
        sample = np.arange(SAMPLES) + np.zeros((len(CROSSLINES), 1))  # [trace, sample]
        unfaulted, near_fault = self._undo_faults(index, sample)
        outside = self._outside_salt(index, sample)  # traces
        dragged = unfaulted + self._drag(outside, sample)
        age, unit = self._age(index, dragged)
        facies = self._facies(unit, outside, sample)
        impedance = self._impedance(index, age, facies, UNIT_FACIES[unit])
        return Ground(facies, impedance, _noise(facies, outside), near_fault)

    def _undo_faults(self, index: int, sample: Floats) -> tuple[Floats, Mask]:
        """Where each sample was before the faults moved, and which samples are close to a fault."""
        near = np.zeros(sample.shape, bool)
        before = sample.copy()
        for fault in FAULTS:
            across = (self.inline[index] - fault.inline) * fault.normal[0]
            across += (self.crossline[index] - fault.crossline) * fault.normal[1]
            across += 3 * self.strike[index]
            beyond = across[:, None] - fault.dip * sample  # traces from the plane; > 0 went down
            # Throw dies out upwards, and away from the plane: the block has rolled over.
            throw = fault.throw * _ramp((sample - 30) / 60) * np.exp(-np.maximum(beyond, 0) / 90)
            before -= np.where(beyond > 0, throw, 0)
            near |= (np.abs(beyond) < 4) & (throw > 1)
        return before, near

    def _outside_salt(self, index: int, sample: Floats) -> Floats:
        """Horizontal distance to the salt in traces, negative inside: a dome with steep flanks."""
        depth = np.clip((sample - SALT_CREST) / 120, 0, 1)
        radius = SALT_RADIUS * np.sqrt(1 - (1 - depth) ** 3)
        wobble = 1.3 * self.salt_wobble[index] * _ramp(depth * 4)
        return np.where(sample < SALT_CREST, 99, self.salt_distance[index][:, None] - radius - wobble)

    @staticmethod
    def _drag(outside: Floats, sample: Floats) -> Floats:
        """How much older a sample is because the rising salt dragged its layer up, in samples."""
        reach = np.clip(1 - outside / (FLANK * 1.4), 0, 1)
        return 40 * reach**2 * _ramp((sample - SALT_CREST - 6) / 60)

    def _age(self, index: int, sample: Floats) -> tuple[Floats, NDArray[np.intp]]:
        """Age in samples of the undeformed column, and which unit of it: layers thin and thicken with their unit."""
        age, unit = np.full(sample.shape, COLUMN_TOP), np.zeros(sample.shape, np.intp)
        top = self.horizons[0, index][:, None]
        above = COLUMN_TOP
        for number, below in enumerate(COLUMN):
            base = self.horizons[number + 1, index][:, None]
            age += np.clip((sample - top) / (base - top), 0, 1) * (below.base - above)
            unit += sample >= base
            top, above = base, below.base
        return age, np.minimum(unit, len(COLUMN) - 1)

    @staticmethod
    def _facies(unit: NDArray[np.intp], outside: Floats, sample: Floats) -> Codes:
        facies = UNIT_FACIES[unit]
        # The flank narrows to nothing at the crest, where layers arch over the salt.
        facies[outside < FLANK * np.clip((sample - SALT_CREST - 8) / 95, 0, 1) ** 0.6] = Facies.STEEP_DIPS
        facies[outside < 0] = Facies.SALT
        return facies

    def _impedance(self, index: int, age: Floats, facies: Codes, unit_facies: Codes) -> Floats:
        grizzly = _soften((facies == Facies.GRIZZLY) * 1.0)
        shredded = _soften((facies == Facies.LOW_COHERENCY) * 1.0)
        blocks = np.sign(self.blocks[index]) * 1.8
        shift = grizzly * (3.2 * self.hummocks[index] + blocks) + shredded * 3.0 * self.shreds[index]
        strong = grizzly + _soften((facies == Facies.HIGH_AMPLITUDE) * 1.0)
        foresets = _soften((facies == Facies.LOW_AMP_DIPS) * 1.0)
        layered = self.beds[age + shift] * (1 - strong - foresets) + self.strong_beds[age + shift] * strong
        layered += self.foresets[self._foreset_age(index, age)] * foresets
        salt = _soften((facies == Facies.SALT) * 2.4)  # fast: a strong top, and nothing inside
        impedance: Floats = layered * self._gain(index, facies, unit_facies) + salt
        return impedance

    def _foreset_age(self, index: int, age: Floats) -> Floats:
        """Age inside the delta: sigmoids that built out across the survey while the unit filled from below."""
        top, base = COLUMN[2].base, COLUMN[3].base
        depth = np.clip((age - top) / (base - top), 0, 1)
        along = 0.62 * (self.crossline[index] - CROSSLINES[0]) + 0.6 * (self.inline[index] - INLINES[0])
        along += 6 * self.front[index]
        age_inside: Floats = 0.62 * along[:, None] + (base - top) * (0.35 * depth + 0.95 * _ramp(depth))
        return age_inside

    def _gain(self, index: int, facies: Codes, unit_facies: Codes) -> Floats:
        """How strong the layers are: by facies, patchy where the facies is, and never quite even."""
        gain: Floats = GAIN[facies] * (1 + 0.18 * self.bed_strength[index])
        # What was strong before the salt turned it up is still the stronger.
        gain *= np.where(facies == Facies.STEEP_DIPS, GAIN[unit_facies] ** 0.3, 1)
        sands, broken = facies == Facies.HIGH_AMPLITUDE, facies == Facies.GRIZZLY
        gain *= np.where(sands, np.clip(1 + 0.55 * self.sands[index], 0.4, 2.0), 1)
        gain *= np.where(broken, np.clip(1 + 0.4 * self.breaks[index], 0.4, 2.0), 1)
        return _soften(gain)


def _noise(facies: Codes, outside: Floats) -> Floats:
    """How strong the noise is: by facies, and strong in the salt's rim."""
    rim = 0.8 * np.clip(1 + outside / SALT_RIM, 0, 1) * (facies == Facies.SALT)
    return _soften(NOISE[facies] + rim)


def _soften(field: Floats) -> Floats:
    """Mean over three traces and three samples, `[trace, sample]`: no boundary in the ground is a staircase."""
    padded = np.pad(field, 1, mode="edge")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    mean: Floats = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9
    return mean


# --- seismic ----------------------------------------------------------------------------------------------------------


def _ricker(peak_hz: float) -> Floats:
    """A zero-phase Ricker wavelet, sampled."""
    t = np.arange(-11, 12) * SAMPLE_INTERVAL_MS / 1000
    squared = (np.pi * peak_hz * t) ** 2
    return (1 - 2 * squared) * np.exp(-squared)


def _convolve(traces: Floats, wavelet: Floats) -> Floats:
    """Every trace of `[trace, sample]` with the wavelet, as a sum of shifted copies."""
    half = wavelet.size // 2
    padded = np.pad(traces, ((0, 0), (half, half)), mode="edge")
    result = np.zeros_like(traces)
    for k, weight in enumerate(wavelet):
        result += weight * padded[:, k : k + traces.shape[1]]
    return result


def _shoot(ground: Ground, rng: np.random.Generator) -> NDArray[np.int16]:
    """The seismic section over the ground, `[trace, sample]`."""
    reflectivity = np.gradient(ground.impedance, axis=1)
    grain = np.pad(rng.standard_normal(reflectivity.shape), ((1, 1), (0, 0)), mode="edge")
    grain = (grain[:-2] + grain[1:-1] + grain[2:]) / 3**0.5  # noise has some lateral extent, as after migration
    section = _convolve(reflectivity + 0.55 * ground.noise * grain, _ricker(32))
    section *= np.exp(-np.arange(SAMPLES) / 900) * _ramp(np.arange(SAMPLES) / 5)
    return np.rint(np.clip(SCALE * section, -32767, 32767)).astype(np.int16)


# --- files ------------------------------------------------------------------------------------------------------------

AMPLITUDE, TRUE_FACIES = 3, 8  # SEG-Y rev 1 sample formats: 2-byte and 1-byte signed integers
SAMPLE_TYPES = {AMPLITUDE: ">i2", TRUE_FACIES: ">i1"}
SPACING_M = 25.0
ORIGIN_M = (604_000.0, 6_073_000.0)
CROSSLINE_STEP = (0.978, 0.208)  # x and y from one crossline to the next, in spacings
COORDINATE_SCALAR = -10  # coordinates are in decimetres

TEXT_HEADER = """\
FACIES-EDGE DEMO: A SYNTHETIC 3-D SURVEY. {content}
MADE BY "infer demo" FROM SEED {seed}. NO REAL PLACE, NO REAL ROCK.

INLINES {inlines}, CROSSLINES {crosslines}
{samples} SAMPLES OF {interval} MS, THE FIRST AT {first} MS: SEE DELAY RECORDING TIME
SAMPLE FORMAT {format}

INLINE      BYTES 189-192     CROSSLINE  BYTES 193-196
CDP X       BYTES 181-184     CDP Y      BYTES 185-188
SCALAR      BYTES  71- 72     METRES AFTER SCALING; GRID 25 M BY 25 M, ROTATED

{meaning}

DEAD: THE CORNER OF HIGH INLINES AND LOW CROSSLINES, AND A FEW TRACES ELSEWHERE
"""
MEANING = {
    AMPLITUDE: "ZERO PHASE, 32 HZ RICKER WAVELET\nA DOWNWARD INCREASE OF IMPEDANCE IS A POSITIVE NUMBER",
    TRUE_FACIES: "\n".join(f"{facies:2d} {facies.name}" for facies in Facies) + f"\n{NO_DATA:2d} NO DATA: DEAD TRACE",
}

FOUR_BYTES = {
    BinField.JobID,
    TraceField.TRACE_SEQUENCE_LINE,
    TraceField.TRACE_SEQUENCE_FILE,
    TraceField.FieldRecord,
    TraceField.CDP,
    TraceField.CDP_X,
    TraceField.CDP_Y,
    TraceField.INLINE_3D,
    TraceField.CROSSLINE_3D,
}
"""The header fields of four bytes among those that we fill; the others have two."""


def write_demo(folder: Path, seed: int = 2018, *, inlines: range = INLINES) -> DemoFiles:
    """Write the synthetic survey to `folder`: `demo.sgy`, its true facies `demo.facies.sgy`, and `demo.picks.ixz`.

    Amplitudes are 2-byte integers. Facies are 1-byte integers, one a sample, NO_DATA on dead traces. Picks are lines
    of `inline crossline twt_ms facies`, all on DEMO_INLINE. The same seed gives the same bytes.

    inlines: which to write, consecutive ones out of INLINES with DEMO_INLINE among them; fewer are quicker.

    Raises OptionError: the seed is negative. OutputError: the folder cannot be written to, or has another SEG-Y file of
    that name.
    """
    if seed < 0:
        raise OptionError(f"A seed is a whole number from 0 up, not {seed}.")
    files = DemoFiles(folder / "demo.sgy", folder / "demo.facies.sgy", folder / "demo.picks.ixz")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, content in ((files.survey, AMPLITUDE), (files.facies, TRUE_FACIES)):
            _check_own(path, _file_header(content, seed, inlines))
        if files.picks.exists() and not files.survey.exists():
            raise OutputError(f"{files.picks} is there already, and no demo survey beside it. Choose another folder.")
        with ExitStack() as stack:
            parts = [stack.enter_context(replacing(path)) for path in (files.survey, files.facies, files.picks)]
            _write(DemoFiles(*parts), seed, inlines)
    except OSError as error:
        raise OutputError(f"Cannot write the demo survey to {folder}: {error.strerror or error}.") from error
    return files


def _check_own(path: Path, header: bytes) -> None:
    """Raise OutputError where there is a file that has not such a title and number format: somebody's, it may be."""
    if path.exists():
        with path.open("rb") as file:
            found = file.read(len(header))
        if any(found[part] != header[part] for part in (_TITLE, _FORMAT)):
            raise OutputError(f"{path} is there already, and is no demo survey. Choose another folder.")


def _write(files: DemoFiles, seed: int, inlines: range) -> None:
    geology = Geology(_generator(seed))
    with files.survey.open("wb") as survey, files.facies.open("wb") as true_facies:
        survey.write(_file_header(AMPLITUDE, seed, inlines))
        true_facies.write(_file_header(TRUE_FACIES, seed, inlines))
        for inline in inlines:
            index = inline - INLINES[0]
            ground, dead = geology.on_inline(index), geology.dead[index]
            amplitude = _shoot(ground, _generator(seed, inline))
            amplitude[dead], ground.facies[dead] = 0, NO_DATA
            survey.write(_traces(AMPLITUDE, amplitude, dead, inline, inline - inlines[0]))
            true_facies.write(_traces(TRUE_FACIES, ground.facies, dead, inline, inline - inlines[0]))
            if inline == DEMO_INLINE:
                files.picks.write_bytes(_picks(ground, _generator(seed, 0)))


def _generator(*seed: int) -> np.random.Generator:
    """PCG64 by name, as numpy's default may change; one for each inline, so that it matters not which are written."""
    return np.random.Generator(np.random.PCG64(seed))


def _headers(values: Mapping[int, Any], first_byte: int, size: int, count: int = 1) -> NDArray[np.uint8]:
    """SEG-Y headers, bytes `[header, byte]`, from a number, or `count` of them, for each field."""
    layout: Any = {
        "names": [str(int(field)) for field in values],
        "formats": [">i4" if field in FOUR_BYTES else ">i2" for field in values],
        "offsets": [int(field) - first_byte for field in values],
        "itemsize": size,
    }
    headers = np.zeros(count, np.dtype(layout))
    for field, value in values.items():
        headers[str(int(field))] = value
    return headers.view(np.uint8).reshape(count, size)


def _file_header(sample_format: int, seed: int, inlines: range) -> bytes:
    """The text header, in EBCDIC, and the binary header."""
    text = TEXT_HEADER.format(
        content="AMPLITUDE" if sample_format == AMPLITUDE else "ITS TRUE FACIES",
        seed=seed,
        inlines=f"{inlines[0]}-{inlines[-1]}",
        crosslines=f"{CROSSLINES[0]}-{CROSSLINES[-1]}",
        samples=SAMPLES,
        interval=SAMPLE_INTERVAL_MS,
        first=FIRST_TWT_MS,
        format={AMPLITUDE: "3: 2-BYTE INTEGERS", TRUE_FACIES: "8: 1-BYTE SIGNED INTEGERS"}[sample_format],
        meaning=MEANING[sample_format],
    )
    lines = text.splitlines()
    lines += [""] * (38 - len(lines)) + ["SEG Y REV1", "END TEXTUAL HEADER"]
    cards = "".join(f"C{number:2d} {line}"[:80].ljust(80) for number, line in enumerate(lines, 1))
    return cards.encode("cp037") + _binary_header(sample_format)


def _binary_header(sample_format: int) -> bytes:
    values = {
        BinField.JobID: 1,
        BinField.Traces: len(CROSSLINES),
        BinField.Interval: SAMPLE_INTERVAL_MS * 1000,
        BinField.Samples: SAMPLES,
        BinField.Format: sample_format,
        BinField.EnsembleFold: 1,
        BinField.SortingCode: 4,  # stacked
        BinField.MeasurementSystem: 1,  # metres
        BinField.SEGYRevision: 0x0100,
        BinField.TraceFlag: 1,  # all traces have one length
    }
    return _headers(values, 3201, 400).tobytes()


def _traces(sample_format: int, values: NDArray[np.int16] | Codes, dead: Mask, inline: int, row: int) -> bytes:
    """One inline's traces `[trace, sample]` with their headers, as they lie in the file at that row of traces."""
    headers = _trace_headers(dead, inline, row)
    samples = np.ascontiguousarray(values, SAMPLE_TYPES[sample_format]).view(np.uint8).reshape(len(values), -1)
    return np.concatenate([headers, samples], axis=1).tobytes()


def _trace_headers(dead: Mask, inline: int, row: int) -> NDArray[np.uint8]:
    """The trace headers of an inline, bytes `[trace, byte]`."""
    number = np.arange(1, len(CROSSLINES) + 1)
    cdp_x, cdp_y = _coordinates(inline)
    values = {
        TraceField.TRACE_SEQUENCE_LINE: number,
        TraceField.TRACE_SEQUENCE_FILE: number + row * len(CROSSLINES),
        TraceField.FieldRecord: inline,
        TraceField.CDP: CROSSLINES,
        TraceField.TraceIdentificationCode: np.where(dead, 2, 1),
        TraceField.SourceGroupScalar: COORDINATE_SCALAR,
        TraceField.CoordinateUnits: 1,  # length
        TraceField.DelayRecordingTime: FIRST_TWT_MS,
        TraceField.TRACE_SAMPLE_COUNT: SAMPLES,
        TraceField.TRACE_SAMPLE_INTERVAL: SAMPLE_INTERVAL_MS * 1000,
        TraceField.CDP_X: cdp_x,
        TraceField.CDP_Y: cdp_y,
        TraceField.INLINE_3D: inline,
        TraceField.CROSSLINE_3D: CROSSLINES,
    }
    return _headers(values, 1, 240, len(CROSSLINES))


def _coordinates(inline: int) -> tuple[Floats, Floats]:
    """CDP x and y of an inline's traces as the headers count them, `[trace]`: a rotated grid, right-handed."""
    along = SPACING_M * np.arange(len(CROSSLINES), dtype=np.float64)
    across = SPACING_M * (inline - INLINES[0])
    (east, north), (x_m, y_m) = CROSSLINE_STEP, ORIGIN_M
    x, y = x_m + along * east - across * north, y_m + along * north + across * east
    return np.rint(x * -COORDINATE_SCALAR), np.rint(y * -COORDINATE_SCALAR)


# --- picks ------------------------------------------------------------------------------------------------------------


def _picks(ground: Ground, rng: np.random.Generator) -> bytes:
    """What an interpreter labels on DEMO_INLINE: patches of each facies, with the boundaries left alone."""
    labelled = _inside(ground.facies) & ~ground.near_fault & (_brush(rng, ground.facies.shape) > -1.05)
    lines = []
    for facies in Facies:
        traces, samples = np.nonzero(labelled & (ground.facies == facies))
        for crossline, twt_ms in zip(CROSSLINES[0] + traces, FIRST_TWT_MS + SAMPLE_INTERVAL_MS * samples, strict=True):
            lines.append(f"{DEMO_INLINE} {crossline} {twt_ms} {facies.value}\n")
    return "".join(lines).encode("ascii")


def _brush(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """A smooth random section `[trace, sample]`, variance 1: where it is low the interpreter did not get to."""
    traces, samples = np.arange(shape[0]) / 14, np.arange(shape[1]) / 9
    knots = rng.standard_normal((int(traces[-1]) + 4, int(samples[-1]) + 4))
    return _spline(_spline(knots, traces, 0), samples, 1)


def _inside(facies: Codes, traces: int = 4, samples: int = 3) -> Mask:
    """Which samples `[trace, sample]` have nothing but their own facies as near as that, and are live."""
    inside: Mask = facies != NO_DATA
    for shift in range(1, traces + 1):
        change = facies[shift:] != facies[:-shift]
        inside[shift:] &= ~change
        inside[:-shift] &= ~change
    for shift in range(1, samples + 1):
        change = facies[:, shift:] != facies[:, :-shift]
        inside[:, shift:] &= ~change
        inside[:, :-shift] &= ~change
    return inside
