"""Geometry: which lines there are, which trace is where, what is dead, what is a hole, when the first sample was."""

from __future__ import annotations

import os
import pickle
import shlex
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import segyio

from infer.errors import LineNotFoundError, OptionError, SurveyError
from infer.survey import LineRange, Survey, open_survey

from ..conftest import grid, reflections

INLINES, CROSSLINES = [5, 6, 7], [20, 21, 22, 23]
PLACES = grid(INLINES, CROSSLINES)


def refusal(path: Path, **options: int) -> str:
    with pytest.raises(SurveyError) as caught:
        open_survey(path, **options)
    return str(caught.value)


def cube(places: list[tuple[int, int]], samples: np.ndarray, survey: Survey) -> np.ndarray:
    """The survey's samples `[inline, crossline, sample]` put in place one by one; the last of duplicates loses."""
    inlines, crosslines = survey.inlines.numbers().tolist(), survey.crosslines.numbers().tolist()
    out = np.zeros((len(inlines), len(crosslines), samples.shape[1]), np.float32)
    for (inline, crossline), trace in reversed(list(zip(places, samples, strict=True))):
        out[inlines.index(inline), crosslines.index(crossline)] = trace
    return out


def assert_reads_as(survey: Survey, expected: np.ndarray, there: np.ndarray) -> None:
    """Every line of both kinds equals its cut through the cube, whole arrays."""
    for kind, lines, axis in (("inline", survey.inlines, 0), ("crossline", survey.crosslines, 1)):
        for index, number in enumerate(lines.numbers().tolist()):
            section = survey.read_line(kind, number)
            assert (section.kind, section.number, section.silenced) == (kind, number, 0)
            assert section.amplitude.flags.c_contiguous
            np.testing.assert_array_equal(section.amplitude, expected.take(index, axis))
            np.testing.assert_array_equal(section.live, there.take(index, axis))
            np.testing.assert_array_equal(section.twt_ms, survey.twt_ms)
            along, across, other = section.inline, section.crossline, survey.crosslines
            if kind == "crossline":
                along, across, other = across, along, survey.inlines
            assert set(along.tolist()) == {number}
            np.testing.assert_array_equal(across, other.numbers())
            assert (along.dtype, across.dtype) == (np.int32, np.int32)


GEOMETRIES = {
    "inline-sorted": (PLACES, (5, 7, 1, 3), (20, 23, 1, 4)),
    "crossline-sorted": (grid(INLINES, CROSSLINES, by="crossline"), (5, 7, 1, 3), (20, 23, 1, 4)),
    "stepped": (grid([100, 104, 108], [30, 33, 39]), (100, 108, 4, 3), (30, 39, 3, 4)),
    "descending": (grid([7, 6, 5], [23, 22, 21, 20]), (5, 7, 1, 3), (20, 23, 1, 4)),
    "negative": (grid([-3, -2, -1], [-8, -6, -4]), (-3, -1, 1, 3), (-8, -4, 2, 3)),
    "across zero": (grid([-2, 0, 2], [-1, 0, 1]), (-2, 2, 2, 3), (-1, 1, 1, 3)),
    "single inline": (grid([9], CROSSLINES), (9, 9, 1, 1), (20, 23, 1, 4)),
    "single crossline": (grid(INLINES, [4]), (5, 7, 1, 3), (4, 4, 1, 1)),
    "one trace": ([(3, 4)], (3, 3, 1, 1), (4, 4, 1, 1)),
    "shuffled": ([PLACES[n] for n in (7, 2, 9, 0, 11, 4, 1, 10, 3, 8, 5, 6)], (5, 7, 1, 3), (20, 23, 1, 4)),
    "missing traces": ([PLACES[n] for n in (0, 1, 3, 4, 6, 7, 9, 10)], (5, 7, 1, 3), (20, 23, 1, 4)),
    "missing corner": ([p for p in PLACES if not (p[0] > 5 and p[1] > 21)], (5, 7, 1, 3), (20, 23, 1, 4)),
    "missing inline": (grid([5, 6, 8], CROSSLINES), (5, 8, 1, 4), (20, 23, 1, 4)),
    "cross": ([*grid([6], CROSSLINES), (5, 22), (7, 22)], (5, 7, 1, 3), (20, 23, 1, 4)),
}


@pytest.mark.parametrize("order", [">", "<"])
@pytest.mark.parametrize("name", list(GEOMETRIES))
def test_geometry(build_segy, name, order):
    places, inlines, crosslines = GEOMETRIES[name]
    samples = reflections(len(places), 30)
    survey = open_survey(build_segy(places, samples, order=order))
    assert (survey.inlines, survey.crosslines) == (LineRange(*inlines), LineRange(*crosslines))
    assert (survey.n_traces, survey.n_duplicate) == (len(places), 0)
    assert survey.n_missing == inlines[3] * crosslines[3] - len(places)
    assert survey.warnings == ()
    expected = cube(places, samples, survey)
    assert_reads_as(survey, expected, expected.any(axis=2))


def test_a_line_of_the_grid_without_traces_is_one_long_hole(build_segy):
    survey = open_survey(build_segy(grid([5, 6, 8], CROSSLINES), reflections(12, 30)))
    section = survey.read_inline(7)
    assert not section.live.any()
    np.testing.assert_array_equal(section.amplitude, np.zeros((4, 30)))


def test_line_numbers_in_other_header_bytes(build_segy):
    samples = reflections(12, 30)
    path = build_segy(PLACES, samples, line_bytes=(9, 21))
    assert refusal(path) == (
        f"{path} has no line numbers: all 12 traces say inline 0, crossline 0. "
        "Bytes 9 and 21 hold a grid: try `--inline-byte 9 --crossline-byte 21`."
    )
    survey = open_survey(path, inline_byte=9, crossline_byte=21)
    np.testing.assert_array_equal(survey.read_crossline(22).amplitude, samples[2::4])
    with pytest.raises(LineNotFoundError) as caught:
        survey.read_crossline(24)
    assert str(caught.value) == (
        "cube.sgy has no crossline 24: its crosslines run from 20 to 23. "
        f"See `infer scan {path} --inline-byte 9 --crossline-byte 21`."
    )


def test_the_usual_header_bytes_may_be_said_too(build_segy):
    path = build_segy([(0, 0)] * 4, reflections(4, 30))
    silent, said = open_survey(path), open_survey(path, inline_byte=189, crossline_byte=193)
    assert (said.inlines, said.crosslines, said.warnings) == (silent.inlines, silent.crosslines, silent.warnings)
    assert open_survey(path, crossline_byte=193).crosslines == LineRange(1, 4, 1, 4)
    assert refusal(path, inline_byte=189, crossline_byte=21) == (
        f"{path} has no line numbers: all 4 traces say inline 0, crossline 0. "
        "Say where they are with `--inline-byte` and `--crossline-byte`."
    )


@pytest.mark.parametrize("pair", [(17, 13), (5, 21), (233, 237), (41, 45), (73, 77), (181, 185)])
def test_other_places_are_suggested(build_segy, pair):
    path = build_segy(PLACES, reflections(12, 30), line_bytes=pair)
    assert refusal(path).endswith(f"try `--inline-byte {pair[0]} --crossline-byte {pair[1]}`.")


def test_header_bytes_out_of_range(build_segy):
    path = build_segy(PLACES, reflections(12, 30))
    with pytest.raises(OptionError) as caught:
        open_survey(path, inline_byte=238)
    assert str(caught.value) == "The inline number's first byte must be from 1 to 237, not 238."
    with pytest.raises(OptionError) as caught:
        open_survey(path, crossline_byte=189)
    assert str(caught.value) == "The inline and the crossline number cannot both begin at byte 189."


def test_a_survey_is_found_from_another_folder(build_segy, tmp_path, monkeypatch):
    build_segy(PLACES, reflections(12, 30))
    monkeypatch.chdir(tmp_path)
    survey = open_survey("cube.sgy")
    expected = survey.read_inline(survey.inlines.first).amplitude
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    np.testing.assert_array_equal(survey.read_inline(survey.inlines.first).amplitude, expected)
    assert survey.path == Path("cube.sgy")


def test_wrong_header_bytes_are_refused(build_segy):
    path = build_segy(PLACES, reflections(12, 30))
    assert refusal(path, inline_byte=9, crossline_byte=21) == (
        f"{path} has no line numbers: all 12 traces say inline 0, crossline 0. "
        "The usual bytes 189 and 193 hold a grid: leave out `--inline-byte` and `--crossline-byte`."
    )
    assert refusal(path, inline_byte=191, crossline_byte=195) == (
        f"{path} has no usable inline numbers in trace header bytes 191-194: 3 different ones from 327680 to 458752. "
        "The usual bytes 189 and 193 hold a grid: leave out `--inline-byte` and `--crossline-byte`."
    )


def test_wild_line_numbers_are_refused(build_segy):
    path = build_segy([(0, 0), *[(1, x) for x in range(10)], (2_000_000_000, -2_000_000_000)], reflections(12, 30))
    assert refusal(path) == (
        f"{path} has no usable inline numbers in trace header bytes 189-192: 3 different ones from 0 to 2000000000. "
        "Say where they are with `--inline-byte` and `--crossline-byte`."
    )


def test_lines_that_are_not_there(build_segy):
    path = build_segy(grid([300], range(20, 30, 2)), reflections(5, 30), name="f3_north.sgy")
    survey = open_survey(path)
    for kind, number, there in (
        ("crossline", 5000, "its crosslines run from 20 to 28 in steps of 2"),
        ("crossline", 21, "its crosslines run from 20 to 28 in steps of 2"),
        ("inline", 1, "its only inline is 300"),
    ):
        for read in (survey.read_line, survey.line_bytes):
            with pytest.raises(LineNotFoundError) as caught:
                read(kind, number)
            assert str(caught.value) == f"f3_north.sgy has no {kind} {number}: {there}. See `infer scan {path}`."


@pytest.mark.parametrize("kind", ["Crossline", "xline", "", None])
def test_lines_of_no_kind(build_segy, kind):
    survey = open_survey(build_segy(PLACES, reflections(12, 30)))
    for read in (survey.read_line, survey.line_bytes):
        with pytest.raises(OptionError) as caught:
            read(kind, 6)
        assert str(caught.value) == f"A line is an 'inline' or a 'crossline', not {kind!r}."


def test_the_first_live_trace_of_a_position_wins(build_segy):
    places = [*PLACES, (6, 21), (7, 23), (7, 23)]
    samples = reflections(15, 30)
    samples[11] = 0  # (7, 23) is dead at first
    survey = open_survey(build_segy(places, samples))
    assert (survey.n_duplicate, survey.n_missing) == (3, 0)
    assert survey.warnings == ("3 traces repeat a position that an earlier trace has; the first live one is used.",)
    expected = cube(PLACES, samples[:12], survey)
    expected[2, 3] = samples[13]
    assert_reads_as(survey, expected, np.ones((3, 4), bool))


def test_dead_traces(build_segy):
    samples = reflections(12, 30)
    samples[1] = 0
    samples[5] = 17.0  # constant
    codes = [1] * 12
    codes[10] = 2  # declared dead, whatever it holds
    survey = open_survey(build_segy(PLACES, samples, traces_say={29: ("h", codes)}))
    expected = cube(PLACES, samples, survey)
    there = np.ones((3, 4), bool)
    for trace in (1, 5, 10):
        there[divmod(trace, 4)] = False
        expected[divmod(trace, 4)] = 0
    assert_reads_as(survey, expected, there)


def test_samples_that_are_no_amplitudes_are_silenced(build_segy):
    samples = reflections(12, 30)
    samples[4, 3:6] = [np.nan, np.inf, -np.inf]
    samples[6, 0] = 1e30
    samples[7] = np.nan
    section = open_survey(build_segy(PLACES, samples)).read_inline(6)
    expected = samples[4:8].astype(np.float32)
    expected[~(np.abs(expected) < 1e30)] = 0
    assert section.silenced == 34
    np.testing.assert_array_equal(section.amplitude, expected)
    assert section.live.tolist() == [True, True, True, False]


def test_line_bytes_are_the_files_own(build_segy):
    places = [(6, 23), (5, 20), (6, 20), (6, 23), (5, 22)]
    path = build_segy(places, reflections(5, 30), order="<", traces_say={37: ("i", [9, 8, 7, 9, 5])})
    content = path.read_bytes()
    line = open_survey(path).line_bytes("inline", 6)
    trace = [content[at : at + 240] for at in range(3600, len(content), 360)]
    assert (line.preamble, line.byte_order) == (content[:3600], "<")
    assert line.headers.tobytes() == trace[0] + trace[2] + trace[3]
    assert line.traces.tolist() == [3, 0, 3]


# Times


def first_and_interval(path: Path) -> tuple[float, float, tuple[str, ...]]:
    survey = open_survey(path)
    np.testing.assert_allclose(survey.twt_ms, [survey.first_twt_ms + n * survey.sample_interval_ms for n in range(30)])
    return survey.first_twt_ms, survey.sample_interval_ms, survey.warnings


@pytest.mark.parametrize(
    ("delay", "scalar", "first"),
    [(4, 0, 4.0), (1200, 1, 1200.0), (10000, -10, 1000.0), (25, -10, 2.5), (3, 100, 300.0), (-8, 0, -8.0)],
)
def test_the_first_samples_time(build_segy, delay, scalar, first):
    says = {109: ("h", [delay] * 12), 215: ("h", [scalar] * 12)}
    path = build_segy(PLACES, reflections(12, 30), traces_say=says, says={3501: ("B", 1)})
    assert first_and_interval(path) == (first, 4.0, ())


@pytest.mark.parametrize("scalar", [-10000, -1000, -100, -10, -1, 1, 10, 100, 1000, 10000])
def test_every_time_scalar_that_there_is(build_segy, scalar):
    says = {109: ("h", [4] * 12), 215: ("h", [scalar] * 12)}
    path = build_segy(PLACES, reflections(12, 30), traces_say=says, says={3501: ("B", 1)})
    assert first_and_interval(path) == (4 * scalar if scalar > 0 else 4 / -scalar, 4.0, ())


@pytest.mark.parametrize(
    ("revision", "scalar", "reason"),
    [
        (1, 37, "no such scalar exists"),
        (1, -32768, "no such scalar exists"),
        (0, -10, "the file is SEG-Y rev 0, which has none"),
    ],
)
def test_what_is_no_time_scalar_is_ignored(build_segy, revision, scalar, reason):
    says = {109: ("h", [1200] * 12), 215: ("h", [scalar] * 12)}
    path = build_segy(PLACES, reflections(12, 30), traces_say=says, says={3501: ("B", revision)})
    warning = f"Bytes 215-216 of the trace headers hold {scalar}, which is no time scalar: {reason}."
    assert first_and_interval(path) == (1200.0, 4.0, (warning,))


def test_what_is_no_time_scalar_goes_unmentioned_where_it_changes_nothing(build_segy):
    path = build_segy(PLACES, reflections(12, 30), traces_say={215: ("h", [37] * 12)})
    assert first_and_interval(path) == (0.0, 4.0, ())


def test_delays_that_differ(build_segy):
    path = build_segy(PLACES, reflections(12, 30), traces_say={109: ("h", [0, *[8] * 11])})
    assert first_and_interval(path) == (
        8.0,
        4.0,
        (
            "The first sample's time differs from trace to trace (0 to 8 ms); "
            "that of most traces, 8 ms, is used for all.",
        ),
    )


@pytest.mark.parametrize(
    ("binary_us", "traces_us", "interval", "warning"),
    [
        (2500, 0, 2.5, ()),
        (3333, 3333, 3.333, ()),
        (0, 2000, 2.0, ()),
        (0, 0, 4.0, ("The headers give no sample interval; 4 ms is assumed.",)),
        (-2000, 0, 2.0, ("The headers give a sample interval of -2 ms; its sign is ignored.",)),
        (-2000, -2000, 2.0, ("The headers give a sample interval of -2 ms; its sign is ignored.",)),
        (-3333, -3333, 3.333, ("The headers give a sample interval of -3.333 ms; its sign is ignored.",)),
        (40000 - 65536, 0, 40.0, ()),
        (40000 - 65536, 40000 - 65536, 40.0, ()),
        (0, 40000 - 65536, 40.0, ()),
        (33333 - 65536, 33333 - 65536, 33.333, ()),
        (
            33333 - 65536,
            0,
            32.203,
            ("The headers give a sample interval of -32.203 ms; its sign is ignored.",),
        ),
        (
            4000,
            40000 - 65536,
            4.0,
            ("The binary header gives a sample interval of 4 ms, which is used; the trace headers give 40 ms.",),
        ),
        (
            4000,
            2000,
            4.0,
            ("The binary header gives a sample interval of 4 ms, which is used; the trace headers give 2 ms.",),
        ),
    ],
)
def test_sample_intervals(build_segy, binary_us, traces_us, interval, warning):
    path = build_segy(PLACES, reflections(12, 30), interval_us=binary_us, traces_say={117: ("h", [traces_us] * 12)})
    assert first_and_interval(path) == (0.0, interval, warning)


# Files that are no post-stack survey


def test_pre_stack(build_segy):
    places = [place for place in PLACES for _ in range(3)]
    path = build_segy(places, reflections(36, 30), traces_say={37: ("i", [100, 200, 300] * 12)})
    assert refusal(path) == (
        f"{path} is pre-stack: most of its 12 positions have several traces, with up to 3 different offsets. "
        "Stack it, or extract one offset, first."
    )


def test_one_gather(build_segy):
    path = build_segy([(1, 1)] * 5, reflections(5, 30), traces_say={37: ("i", [100, 200, 300, 400, 500])})
    assert refusal(path) == (
        f"{path} is pre-stack: all of its 5 traces are at one position, with 5 different offsets. "
        "Stack it, or extract one offset, first."
    )


def test_shot_gathers(build_segy):
    path = build_segy([(0, 0)] * 6, reflections(6, 30), traces_say={9: ("i", [1, 1, 1, 2, 2, 2])})
    assert refusal(path) == (
        f"{path} has no line numbers, and looks like shot gathers: 6 traces of 2 field records. "
        "Facies need a stacked survey."
    )


def test_everything_twice_is_not_pre_stack(build_segy):
    survey = open_survey(build_segy([*PLACES, *PLACES], reflections(24, 30)))
    assert (survey.n_duplicate, survey.n_missing) == (12, 0)


@pytest.mark.parametrize(
    ("cdp", "crosslines", "source"),
    [
        ([11, 13, 15, 17], (11, 17, 2, 4), "CDP numbers (bytes 21-24)"),
        ([0, 0, 0, 0], (1, 4, 1, 4), "traces counted from 1 in file order"),
    ],
)
def test_a_line_without_line_numbers_is_one_inline(build_segy, cdp, crosslines, source):
    samples = reflections(4, 30)
    survey = open_survey(build_segy([(0, 0)] * 4, samples, traces_say={21: ("i", cdp)}))
    assert (survey.inlines, survey.crosslines) == (LineRange(0, 0, 1, 1), LineRange(*crosslines))
    np.testing.assert_array_equal(survey.read_inline(0).amplitude, samples)
    assert survey.warnings == (
        f"There are no line numbers, so the file is read as one line: inline 0, its crosslines the {source}.",
    )


# The survey as an object


def test_amplitude_clip_is_the_99th_percentile_of_live_traces(build_segy):
    samples = reflections(12, 200)
    samples[3] = 0
    samples[7, 5] = np.nan
    survey = open_survey(build_segy(PLACES, samples))
    live = np.nan_to_num(np.delete(samples, 3, axis=0))
    assert survey.amplitude_clip == pytest.approx(np.percentile(np.abs(live), 99), rel=1e-6)
    assert survey.amplitude_clip is survey.amplitude_clip


def test_a_survey_can_be_pickled_shared_among_threads_and_its_file_deleted(build_segy):
    samples = reflections(12, 30)
    path = build_segy(PLACES, samples)
    survey = pickle.loads(pickle.dumps(open_survey(str(path))))
    with ThreadPoolExecutor(4) as threads:
        sections = list(threads.map(survey.read_inline, INLINES * 20))
    for n, section in enumerate(sections):
        np.testing.assert_array_equal(section.amplitude, samples[4 * (n % 3) :][:4])
    path.unlink()
    assert not path.exists()


def test_many_lines_need_no_dense_grid(build_segy):
    """A diagonal of 300 traces whose grid has 9 million places."""
    places = [(n * 10 + n % 2, n * 10 + n % 2) for n in range(300)]
    survey = open_survey(build_segy(places, reflections(300, 30)))
    assert survey.n_missing == 2992**2 - 300
    section = survey.read_inline(1240)
    assert section.live.sum() == 1
    assert section.warnings == ("Inline 1240 has only 1 live trace at 2,992 places.",)
    assert replace(section, live=np.zeros_like(section.live), silenced=1).warnings == (
        "Inline 1240 has only 0 live traces at 2,992 places.",
        "Inline 1240 has 1 sample that is no amplitude (NaN, infinite, 1e30): taken as silence.",
    )


def test_line_ranges():
    with pytest.raises(LineNotFoundError) as caught:
        LineRange(300, 306, 2, 4).index(305)
    assert str(caught.value) == "There is no line 305: the lines run from 300 to 306 in steps of 2."
    lowest, highest = np.iinfo(np.int32).min, np.iinfo(np.int32).max
    wide = LineRange.covering(np.array([lowest, highest], np.int32))
    assert wide.numbers().tolist() == [lowest, highest]


@pytest.mark.skipif(os.name == "nt", reason="quotes for POSIX shells")
@pytest.mark.parametrize("name", ["my cube.sgy", "it$HOME(1).sgy", "it's.sgy", "cube.sgy"])
def test_commands_can_be_pasted_into_a_shell(build_segy, name):
    path = build_segy(PLACES, reflections(12, 30), name=name)
    command = open_survey(path).command("scan")
    assert shlex.split(command) == ["infer", "scan", str(path)]
    assert command == (f"infer scan {path}" if name == "cube.sgy" else f"infer scan {shlex.quote(str(path))}")


def test_commands_for_windows(build_segy, monkeypatch):
    paths = [build_segy(PLACES, reflections(12, 30), name=name) for name in ("my cube.sgy", "it$(1).sgy")]
    surveys = [open_survey(path) for path in paths]
    with monkeypatch.context() as windows:
        windows.setattr("infer.survey.os", SimpleNamespace(name="nt"))
        commands = [survey.command("scan") for survey in surveys]
    assert commands == [f'infer scan "{paths[0]}"', f"infer scan {paths[1]}"]


# The shared files


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "inlines", "crosslines", "missing"),
    [
        ("f3/f3_lines.sgy", (100, 750, 1, 651), (300, 1250, 1, 951), 617500),
        ("segy/real/f3_corner_int16.sgy", (111, 133, 1, 23), (875, 892, 1, 18), 0),
        ("segy/real/f3_missing_traces.sgy", (111, 133, 1, 23), (875, 892, 1, 18), 175),
        ("segy/real/f3_two_inlines_ibm.sgy", (105, 106, 1, 2), (300, 399, 1, 100), 0),
        ("segy/real/volve_arbitrary_line_ieee.sgy", (0, 0, 1, 1), (1, 225, 1, 225), 0),
        ("segy/odd/small_negative_il_xl.sgy", (-5, -1, 1, 5), (-24, -20, 1, 5), 0),
        ("segy/odd/small_hole.sgy", (1, 5, 1, 5), (20, 24, 1, 5), 1),
        ("segy/odd/small-irregular.sgy", (1, 5, 1, 5), (20, 24, 1, 5), 1),
        ("segy/odd/left-small.sgy", (1, 5, 1, 5), (20, 24, 1, 5), 0),
        ("segy/odd/small-lsb.sgy", (1, 5, 1, 5), (20, 24, 1, 5), 0),
    ],
)
def test_shared_surveys(shared, name, inlines, crosslines, missing):
    survey = open_survey(shared / name)
    assert (survey.inlines, survey.crosslines) == (LineRange(*inlines), LineRange(*crosslines))
    assert (survey.n_missing, survey.n_duplicate) == (missing, 0)
    endian = "little" if "lsb" in name else "big"
    with segyio.open(shared / name, ignore_geometry=True, endian=endian) as theirs:
        samples = theirs.trace.raw[:]
        places = list(zip(theirs.attributes(189)[:].tolist(), theirs.attributes(193)[:].tolist(), strict=True))
    if "volve" in name:
        places = [(0, n + 1) for n in range(225)]
    for inline in {places[0][0], places[-1][0]}:
        section = survey.read_inline(inline)
        for trace in np.flatnonzero(section.live):
            place = (inline, int(section.crossline[trace]))
            np.testing.assert_array_equal(section.amplitude[trace], samples[places.index(place)])


@pytest.mark.shared
def test_f3_starts_at_4_ms_and_its_corner_is_dead(shared):
    survey = open_survey(shared / "f3/f3_lines.sgy")
    assert (survey.first_twt_ms, survey.sample_interval_ms, survey.twt_ms[461]) == (4.0, 4.0, 1848.0)
    section = survey.read_crossline(500)
    assert section.inline[~section.live].tolist() == list(range(702, 751))
    assert survey.read_inline(339).live.all()


@pytest.mark.shared
@pytest.mark.parametrize("name", ["1x1", "1xN", "Mx1", "small-ps", "small-ps-dec-il-xl-off"])
def test_shared_pre_stack_files_are_refused(shared, name):
    assert "is pre-stack" in refusal(shared / f"segy/odd/{name}.sgy")


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("shot-gather", "looks like shot gathers: 61 traces of 4 field records"),
        ("broken", "is cut short: it ends in the middle of trace 4"),
        ("text", "has no traces"),
        ("mapping-shifted", "has no usable crossline numbers in trace header bytes 193-196"),
        ("long", "has no usable inline numbers in trace header bytes 189-192"),
    ],
)
def test_shared_oddities_are_refused_with_the_reason(shared, name, words):
    assert words in refusal(shared / f"segy/odd/{name}.sgy")


@pytest.mark.shared
def test_shared_shifted_headers_open_when_told_where(shared):
    survey = open_survey(shared / "segy/odd/mapping-shifted.sgy", inline_byte=190, crossline_byte=194)
    assert (survey.inlines, survey.crosslines) == (LineRange(1, 3, 1, 3), LineRange(20, 21, 1, 2))


@pytest.mark.shared
def test_shared_delay_with_a_scalar(shared):
    survey = open_survey(shared / "segy/odd/delay-scalar.sgy")
    assert (survey.twt_ms[0], survey.twt_ms[-1], survey.warnings) == (1000.0, 2000.0, ())


@pytest.mark.shared
def test_shared_negative_interval(shared):
    survey = open_survey(shared / "segy/odd/interval-neg-bin-neg-trace.sgy")
    assert survey.sample_interval_ms == 2.0
    assert "The headers give a sample interval of -2 ms; its sign is ignored." in survey.warnings


@pytest.mark.shared
def test_shared_arbitrary_line_with_the_usual_header_bytes(shared):
    survey = open_survey(shared / "segy/real/volve_arbitrary_line_ieee.sgy", inline_byte=189, crossline_byte=193)
    assert (survey.inlines, survey.crosslines) == (LineRange(0, 0, 1, 1), LineRange(1, 225, 1, 225))


@pytest.mark.parametrize("by", ["inline", "crossline"])
@pytest.mark.parametrize("kind", ["inline", "crossline"])
def test_several_lines_and_parts_of_them_are_as_one_by_one(build_segy, kind, by):
    positions = grid(range(10, 20, 2), range(300, 309), by)
    positions.remove((14, 303))
    positions.append((12, 305))
    survey = open_survey(build_segy(positions, reflections(len(positions), 7)))
    numbers = [14, 10, 12] if kind == "inline" else [308, 303, 305]
    for within in (None, range(1, 4)):
        part = slice(None) if within is None else slice(within.start, within.stop)
        for number, found in zip(numbers, survey.read_lines(kind, numbers, within), strict=True):
            line = survey.read_line(kind, number)
            np.testing.assert_array_equal(found.amplitude, line.amplitude[part])
            np.testing.assert_array_equal(found.live, line.live[part])
            np.testing.assert_array_equal(found.crossing, line.crossing[part])
            assert (found.kind, found.number) == (kind, number)
