"""What `infer scan` finds and how it says it."""

from __future__ import annotations

import json

import numpy as np
import pytest

import infer._segy
import infer.scan
from infer.scan import describe, scan
from infer.survey import open_survey

from ..conftest import grid, reflections

PLACES = grid([5, 6, 7], [20, 22, 24, 26])


def coordinates(places: list[tuple[int, int]], scalar: int = -10) -> dict[int, tuple[str, list[int]]]:
    """A survey turned by 30 degrees: inlines 25 m apart, crosslines 12.5 m per number."""
    angle = np.radians(30)
    east = [500000 + 25 * i * np.cos(angle) - 12.5 * x * np.sin(angle) for i, x in places]
    north = [6000000 + 25 * i * np.sin(angle) + 12.5 * x * np.cos(angle) for i, x in places]
    return {
        71: ("h", [scalar] * len(places)),
        181: ("i", [round(v * 10) for v in east]),
        185: ("i", [round(v * 10) for v in north]),
    }


def test_a_report_in_words(build_segy):
    samples = reflections(12, 50)
    samples[2] = 0
    samples[3, :2] = [np.nan, 1e30]
    places = [*PLACES[:-1], (7, 20)]
    path = build_segy(places, samples, traces_say={109: ("h", [4] * 12), **coordinates(places)})
    survey = open_survey(path)
    report = scan(survey)
    live = np.nan_to_num(np.where(np.abs(samples) < 1e30, samples, 0))[[n for n in range(12) if n != 2]]
    assert report.n_dead == 1
    assert (report.amplitudes.minimum, report.amplitudes.maximum) == (live.min(), live.max())
    np.testing.assert_allclose(report.amplitudes.mean, live.mean())
    np.testing.assert_allclose(report.amplitudes.rms, np.sqrt((live**2).mean()))
    assert describe(report).splitlines() == [
        f"{path}: SEG-Y rev 0, 32-bit IEEE float, big-endian, EBCDIC text header",
        "  inlines      5 to 7, step 1: 3",
        "  crosslines   20 to 26, step 2: 4",
        "  samples      50 every 4 ms, from 4 to 200 ms",
        "  traces       12 (inline by inline): 1 missing on the grid, 1 dead, 1 duplicate",
        "  coordinates  CDP X 499945.8 to 500026.6, Y 6000279 to 6000356.5 m; "
        "inlines 25 m apart; crosslines 25.01 m apart",
        f"  amplitudes   {live.min():.6g} to {live.max():.6g}, mean {live.mean():.3g}, "
        f"rms {np.sqrt((live**2).mean()):.4g}, clip (99 %) {survey.amplitude_clip:.6g}; 2 NaN, infinite or undefined",
        "  odd          1 trace repeats a position that an earlier trace has; the first live one is used.",
        "  odd          2 samples are NaN, infinite or undefined (1e30), and are taken as silence.",
        f"  next         infer slice {path} --inline 6",
    ]


def test_the_report_as_json(build_segy):
    path = build_segy(PLACES, reflections(12, 50))
    survey = open_survey(path)
    report = json.loads(json.dumps(scan(survey).to_dict()))
    amplitudes = report.pop("amplitudes")
    assert set(amplitudes) == {"minimum", "maximum", "mean", "rms", "undefined"}
    assert report == {
        "path": str(path),
        "description": "SEG-Y rev 0, 32-bit IEEE float, big-endian, EBCDIC text header",
        "inlines": {"first": 5, "last": 7, "step": 1, "count": 3},
        "crosslines": {"first": 20, "last": 26, "step": 2, "count": 4},
        "samples": {"count": 50, "first_twt_ms": 0.0, "last_twt_ms": 196.0, "interval_ms": 4.0},
        "traces": {"total": 12, "missing": 0, "dead": 0, "duplicate": 0},
        "format": "32-bit IEEE float, big-endian",
        "sorting": "inline by inline",
        "coordinates": None,
        "amplitude_clip": survey.amplitude_clip,
        "warnings": [],
        "next_command": f"infer slice {path} --inline 6",
    }


@pytest.mark.parametrize("by", ["inline", "crossline"])
def test_coordinates_and_spacing(build_segy, by):
    places = grid([5, 6, 7], [20, 22, 24, 26], by=by)
    report = scan(open_survey(build_segy(places, reflections(12, 50), traces_say=coordinates(places))))
    assert report.sorting == f"{by} by {by}"
    where = report.coordinates
    assert (where.source, where.unit) == ("CDP", "m")
    np.testing.assert_allclose([where.inline_spacing, where.crossline_spacing], [25, 25], atol=0.05)
    np.testing.assert_allclose(where.x, [499945.8, 500026.6], atol=0.06)


def test_source_coordinates_serve_where_there_are_no_others(build_segy):
    says = coordinates(PLACES)
    says = {71: says[71], 73: says[181], 77: says[185], 89: ("h", [1] * 12)}
    report = scan(open_survey(build_segy(PLACES, reflections(12, 50), traces_say=says, says={3255: ("h", 2)})))
    assert (report.coordinates.source, report.coordinates.unit) == ("source", "ft")


def test_degrees_are_no_distance(build_segy):
    says = coordinates(PLACES) | {89: ("h", [3] * 12)}
    report = scan(open_survey(build_segy(PLACES, reflections(12, 50), traces_say=says)))
    assert (report.coordinates.unit, report.coordinates.inline_spacing) == ("degrees", None)


def test_the_next_line_is_one_with_traces_in_the_middle(build_segy):
    cross = [*grid([39], range(90)), *[(i, 50) for i in range(80) if i != 39]]
    path = build_segy(cross, reflections(len(cross), 20))
    assert scan(open_survey(path)).next_command == f"infer slice {path} --inline 39"
    path = build_segy(grid([3], range(9)), reflections(9, 20))
    assert scan(open_survey(path)).next_command == f"infer slice {path} --inline 3"


def test_the_next_line_is_one_with_live_traces(build_segy):
    samples = reflections(12, 50)
    samples[[0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11]] = 0
    path = build_segy(PLACES, samples)
    assert scan(open_survey(path)).next_command == f"infer slice {path} --crossline 22"
    samples[10] = 1 + np.arange(50)
    path = build_segy(PLACES, samples)
    assert scan(open_survey(path)).next_command == f"infer slice {path} --inline 7"


def test_the_next_command_can_be_pasted(build_segy):
    path = build_segy(PLACES, reflections(12, 50), name="it$HOME(1).sgy")
    assert scan(open_survey(path)).next_command == f"infer slice '{path}' --inline 6"


@pytest.mark.parametrize("n_samples", [50, 3000], ids=["short traces", "long traces"])
def test_every_byte_is_read_once(build_segy, monkeypatch, n_samples):
    path = build_segy(PLACES, reflections(12, n_samples), traces_say=coordinates(PLACES))
    survey = open_survey(path)
    assert survey.amplitude_clip > 0  # it reads traces of its own
    read, fill = [], infer._segy._fill
    monkeypatch.setattr(
        infer._segy, "_fill", lambda file, rows, path: read.append(rows.nbytes) or fill(file, rows, path)
    )
    monkeypatch.setattr(infer._segy, "BLOCK_BYTES", 5000)
    report = scan(survey)
    assert sum(read) == path.stat().st_size - 3600
    assert max(read) <= max(5000, 240 + 4 * n_samples)
    assert report.coordinates.inline_spacing == pytest.approx(25, abs=0.05)


def test_the_next_command_keeps_the_header_bytes(build_segy):
    path = build_segy(PLACES, reflections(12, 50), line_bytes=(9, 21))
    report = scan(open_survey(path, inline_byte=9, crossline_byte=21))
    assert report.next_command == f"infer slice {path} --inline 6 --inline-byte 9 --crossline-byte 21"


def test_oddities(build_segy):
    path = build_segy(PLACES, reflections(12, 50) + 128, code=16, traces_say={115: ("H", [50, *[99] * 11])})
    assert scan(open_survey(path)).warnings == (
        f"The amplitudes are centred on {np.mean(reflections(12, 50) + 128):.4g}, not on 0, and are used as they are: "
        "models expect seismic reflections, which swing around 0.",
        "Trace headers give 99 samples per trace; there are 50.",
    )
    path = build_segy(PLACES, np.zeros((12, 50)))
    report = scan(open_survey(path))
    assert report.warnings == ("All traces are dead: there is nothing to classify.",)
    assert describe(report).splitlines()[-1] == "  odd          All traces are dead: there is nothing to classify."
    assert report.to_dict()["next_command"] == ""


def test_a_very_large_file_is_estimated_and_says_so(build_segy, monkeypatch):
    samples = reflections(200, 50)
    samples[::2] = 0
    survey = open_survey(build_segy(grid(range(10), range(20)), samples))
    monkeypatch.setattr(infer.scan, "EXACT_BYTES", 1000)
    monkeypatch.setattr(infer.scan, "SPREAD_TRACES", 50)
    report = scan(survey)
    assert not report.exact
    assert 60 < report.n_dead < 140
    assert report.warnings == (
        "The file is very large: dead traces and amplitudes are estimates from 50 traces spread over it.",
    )
    assert f"about {report.n_dead} dead" in describe(report)


@pytest.mark.shared
def test_f3(shared):
    path = shared / "f3/f3_lines.sgy"
    report = scan(open_survey(path))
    assert (report.n_traces, report.n_missing, report.n_dead) == (1601, 617500, 49)
    assert report.next_command == f"infer slice {path} --crossline 500"
    assert (report.coordinates.inline_spacing, report.coordinates.crossline_spacing) == pytest.approx((25, 25))


@pytest.mark.shared
def test_a_cube_with_one_live_trace(shared):
    path = shared / "segy/odd/small-8bit.sgy"
    survey = open_survey(path)
    report = scan(survey)
    assert (report.n_traces, report.n_dead) == (25, 24)
    option, number = report.next_command.removeprefix(f"infer slice {path} --").split()
    assert survey.read_line(option, int(number)).live.sum() == 1
