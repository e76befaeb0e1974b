"""Whole surveys: against lines classified one by one, re-opened by others' libraries, killed and gone on with."""

from __future__ import annotations

import errno
import itertools
import json
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import segyio
from typer.testing import CliRunner

import infer.cube
from infer import classify, load_model, open_survey
from infer.card import read_card, write_card
from infer.cli import app
from infer.cube import CubeRun
from infer.cube_plan import CubeRequest, Plan
from infer.cube_sgy import SegyStore
from infer.demo import write_demo
from infer.errors import Cancelled, DeviceError, InferError, LineNotFoundError, OptionError, OutputError
from infer.finished import open_cube
from infer.journal import CHANGED
from infer.region import Region
from tests.conftest import grid, reflections

INLINES, CROSSLINES, SAMPLES = range(100, 130, 2), range(300, 321), 26
CLIP = 60.0


@pytest.fixture
def cube(build_segy):
    """15 inlines in steps of 2, 21 crosslines; one trace missing, one twice, one dead."""
    positions = grid(INLINES, CROSSLINES)
    positions.remove((104, 305))
    positions.append((110, 310))
    samples = reflections(len(positions), SAMPLES)
    samples[positions.index((108, 300))] = 0
    text = {1: ("i", range(1, len(positions) + 1)), 181: ("i", [7 * n for n in range(len(positions))])}
    return build_segy(positions, samples, traces_say=text | {109: ("h", [4] * len(positions))})


@pytest.fixture
def request_for(cube, sliced_model, tmp_path):
    def make(out: str, **options) -> CubeRequest:
        return CubeRequest(cube, tmp_path / out, str(sliced_model(8)), clip=CLIP, device="cpu", **options)

    return make


def line_by_line(request: CubeRequest, kind: str = "inline") -> np.ndarray:
    """Probabilities `[facies, inline, crossline, sample]`, of sections one by one; NaN without data."""
    survey, model = open_survey(request.cube), load_model(request.model, "cpu")
    numbers = (survey.inlines if kind == "inline" else survey.crosslines).numbers()
    lines = [classify(survey.read_line(kind, n), model, CLIP).probabilities for n in numbers]
    return np.stack(lines, axis=1 if kind == "inline" else 2)


def facies_of(probabilities: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(probabilities[0]), -1, np.nan_to_num(probabilities).argmax(axis=0)).astype(np.int8)


def read_cube(path: Path) -> np.ndarray:
    """Samples of a .sgy `[trace, sample]`, by segyio."""
    with segyio.open(path, ignore_geometry=True) as file:
        return file.trace.raw[:]


def by_trace(request: CubeRequest, values: np.ndarray) -> np.ndarray:
    """Of `[inline, crossline, sample]` the traces of the source, `[trace, sample]`."""
    survey = open_survey(request.cube)
    return values[(survey.inline_of_trace - 100) // 2, survey.crossline_of_trace - 300]


def traces(path: Path, n_samples: int, width: int) -> np.ndarray:
    """Raw traces `[trace, byte]`."""
    return np.fromfile(path, np.uint8)[3600:].reshape(-1, 240 + n_samples * width)


@pytest.mark.parametrize("along", ["inline", "crossline"])
def test_a_cube_is_its_lines(request_for, along):
    request = request_for("facies.sgy", along=along, confidence=True, probabilities=("salt",))
    CubeRun(request).work()
    expected = line_by_line(request, along)
    np.testing.assert_array_equal(read_cube(request.out), by_trace(request, facies_of(expected)))
    for name, values in (("confidence", expected.max(axis=0)), ("probability_salt", expected[1])):
        found = read_cube(request.out.with_name(f"facies.{name}.sgy"))
        np.testing.assert_allclose(found, by_trace(request, np.nan_to_num(values)), atol=1e-6)
    left = sorted(path.name for path in request.out.parent.iterdir() if path.suffix not in (".onnx",))
    assert left == ["cube.sgy", "facies.confidence.sgy", "facies.probability_salt.sgy", "facies.sgy"]


def test_headers_are_the_sources_byte_for_byte(request_for):
    request = request_for("facies.sgy")
    CubeRun(request).work()
    np.testing.assert_array_equal(traces(request.out, SAMPLES, 1)[:, :240], traces(request.cube, SAMPLES, 4)[:, :240])
    ours, theirs = (np.fromfile(path, np.uint8)[:3600] for path in (request.out, request.cube))
    assert np.flatnonzero(ours != theirs).tolist() == [3225]
    assert (ours[3225], theirs[3225]) == (8, 5)


@pytest.mark.parametrize("suffix", [".sgy", ".zarr"])
def test_a_facies_may_have_a_name_that_files_cannot_have(request_for, suffix):
    if suffix == ".zarr":
        zarr = pytest.importorskip("zarr")
    request = request_for(f"facies{suffix}", probabilities=("sand/shale: 50 %",))
    card = replace(read_card(Path(request.model)), facies_names=("mud", "sand/shale: 50 %", "sand_shale_ 50 %"))
    for path in (Path(request.model), Path(request.model).with_suffix(".slice.onnx")):
        write_card(path, card)
    CubeRun(request).work()
    if suffix == ".sgy":
        assert request.out.with_name("facies.probability_sand_shale_ 50 %.sgy").is_file()
    else:
        assert zarr.open_group(request.out)["probability_sand_shale_ 50 %"].ndim == 3
    with pytest.raises(OptionError, match=r"^Two of the facies .* have the same name but for letters"):
        CubeRun(replace(request, out=request.out.with_name(f"other{suffix}"), probabilities=card.facies_names[1:]))


def test_names_too_long_for_what_lies_beside_them_are_refused_at_once(request_for):
    with pytest.raises(OutputError, match=r"cannot be written: File name too long\.$"):
        CubeRun(request_for("x" * 240 + ".sgy"))
    with pytest.raises(OutputError, match=r"cannot be written: File name too long\.$"):
        CubeRun(request_for("x" * 230 + ".sgy", confidence=True))


def test_both_directions_are_averaged(request_for, monkeypatch):
    monkeypatch.setattr("infer.cube_plan.BOTH_BYTES", 1)  # blocks of 32 x 32: one here
    request = request_for("facies.sgy", along="both", confidence=True)
    CubeRun(request).work()
    mean = (line_by_line(request, "inline") + line_by_line(request, "crossline")) / 2
    confidence = read_cube(request.out.with_name("facies.confidence.sgy"))
    np.testing.assert_allclose(confidence, by_trace(request, np.nan_to_num(mean.max(axis=0))), atol=1e-6)
    second, first = np.sort(np.nan_to_num(mean), axis=0)[-2:]
    sure = by_trace(request, first - second > 1e-5)
    np.testing.assert_array_equal(read_cube(request.out)[sure], by_trace(request, facies_of(mean))[sure])


def test_both_in_several_blocks_is_both_in_one(request_for, monkeypatch):
    one, several = request_for("one.sgy", along="both"), request_for("several.sgy", along="both")
    CubeRun(one).work()
    monkeypatch.setattr(Plan, "_block_shape", lambda self: (4, 7))
    assert len(Plan(several).blocks) == 12
    CubeRun(several).work()
    assert one.out.read_bytes() == several.out.read_bytes()


def test_a_region_is_that_part_of_the_whole(request_for):
    whole = line_by_line(request_for("whole.sgy"))
    request = request_for("part.sgy", region=Region.parse("inlines=104:113,crosslines=303:311,twt=24:60"))
    CubeRun(request).work()
    expected = facies_of(whole)[2:7, 3:12, 5:15]
    with segyio.open(request.out, ignore_geometry=True) as file:
        inlines, crosslines = file.attributes(189)[:], file.attributes(193)[:]
        assert (file.attributes(115)[:] == 10).all() and (file.attributes(109)[:] == 24).all()
        assert file.samples.tolist() == [*range(24, 64, 4)]
        found = file.trace.raw[:]
    assert len(found) == 5 * 9  # one is missing, one there twice
    np.testing.assert_array_equal(found, expected[(inlines - 104) // 2, crosslines - 303])
    np.testing.assert_array_equal(open_survey(request.out).twt_ms, np.arange(24, 64, 4))


@pytest.mark.parametrize(
    ("revision", "scalar", "delay", "interval_us", "twt", "first", "says"),
    [
        (1, 0, 0, 4000, "404:440", 404, (404, 0)),
        (1, 1000, 0, 4000, "404:440", 404, (404, 1)),
        (1, 10, 0, 4000, "404:440", 404, (404, 1)),
        (1, -10, 0, 4000, "404:440", 404, (4040, -10)),
        (1, -100, 0, 4000, "404:440", 404, (404, 1)),
        (1, -1000, 0, 4000, "404:440", 404, (404, 1)),
        (1, 7, 0, 4000, "404:440", 404, (404, 1)),
        (1, 0, 32_000, 4000, "32800:32840", 32_800, (3280, 10)),
        (1, 0, 0, 2500, "252.5:260", 252.5, (2525, -10)),
        (1, 0, 0, 250, "25.25:26", 25.25, (2525, -100)),
        (0, 37, 0, 4000, "400:440", 400, (400, 37)),
        (0, -100, 0, 4000, "400:440", 400, (400, -100)),
        (0, 0, 0, 2500, "255:260", 255, (255, 0)),
    ],
)
def test_a_part_says_when_it_begins(build_segy, request_for, revision, scalar, delay, interval_us, twt, first, says):
    positions = grid(range(1, 5), range(1, 5))
    path = build_segy(
        positions,
        reflections(16, 300),
        name="long.sgy",
        interval_us=interval_us,
        says={3501: ("B", revision)},
        traces_say={109: ("h", [delay] * 16), 215: ("h", [scalar] * 16)},
    )
    request = replace(request_for("part.sgy", region=Region.parse(f"twt={twt}")), cube=path)
    run = CubeRun(request)
    assert run.store.warnings == ()
    run.work()
    assert open_survey(request.out).first_twt_ms == pytest.approx(first, abs=1e-6)
    with segyio.open(request.out, ignore_geometry=True) as file:
        assert {(file.attributes(109)[n].item(), file.attributes(215)[n].item()) for n in range(16)} == {says}


@pytest.mark.parametrize("order", [">", "<"])
def test_what_else_is_a_time_is_scaled_as_the_first_one(build_segy, request_for, order):
    positions = grid(range(1, 5), range(1, 5))
    times = {111: ("h", [7] * 16), 113: ("h", [-9, *[9] * 15]), 99: ("h", [4000] * 16), 215: ("h", [0, *[-10] * 15])}
    path = build_segy(
        positions,
        reflections(16, 30),
        name="mutes.sgy",
        order=order,
        interval_us=500,
        says={3501: ("H", 0x0100)},
        traces_say=times,
    )
    request = replace(request_for("part.sgy", region=Region.parse("twt=1.5:5")), cube=path)
    CubeRun(request).work()
    with segyio.open(request.out, ignore_geometry=True, endian="little" if order == "<" else "big") as file:
        found = {byte: file.attributes(byte)[:].tolist() for byte in (99, 109, 111, 113, 215)}
    assert found == {
        99: [32_767, *[4000] * 15],  # no more fits
        109: [15] * 16,
        111: [70, *[7] * 15],
        113: [-90, *[9] * 15],
        215: [-10] * 16,
    }
    assert not list(open_cube(request.out).doubts(open_survey(path)))


def test_a_part_that_cannot_say_when_it_begins(build_segy, request_for):
    positions = grid(range(1, 5), range(1, 5))
    delays = {109: ("h", [32_767] * 16)}
    path = build_segy(positions, reflections(16, 30), name="late.sgy", traces_say=delays)
    with pytest.raises(OutputError) as caught:
        CubeRun(replace(request_for("part.sgy", region=Region.parse("twt=32800:32850")), cube=path))
    assert str(caught.value) == (
        "Traces that begin at 32803 ms cannot be written as SEG-Y of late.sgy: its trace headers have room for 32,767 "
        "ms. Choose a .zarr, or no times in the --region."
    )
    path = build_segy(positions, reflections(16, 30), name="half.sgy", interval_us=2500)
    run = CubeRun(replace(request_for("part.sgy", region=Region.parse("twt=2.5:40")), cube=path))
    assert run.store.warnings == (
        "The first sample is at 2.5 ms, and trace headers of half.sgy can only say 2 ms: all times in a .sgy are that "
        "much off.",
    )


def test_what_a_region_asks_for_beyond_the_survey_is_said(request_for):
    request = request_for("part.sgy")
    command = ["cube", str(request.cube), str(request.out), "--model", str(request.model), "--device", "cpu"]
    done = CliRunner().invoke(app, [*command, "--region", "inlines=120:200,crosslines=200:310,twt=-40:40"])
    assert done.exit_code == 0, done.output
    for sentence in (
        "Of inlines=120:200 the survey has only those from 100 to 128 in steps of 2; the rest is left out.",
        "Of crosslines=200:310 the survey has only those from 300 to 320; the rest is left out.",
        "Of twt=-40:40 the survey has only those from 4 to 104 ms; the rest is left out.",
    ):
        assert sentence in done.stderr
    assert open_survey(request.out).inlines.numbers().tolist() == [120, 122, 124, 126, 128]
    between = Region.parse("twt=47")
    assert list(between.left_out(open_survey(request.cube))) == [
        "There is no sample at 47 ms: the nearest, at 48 ms, is taken."
    ]
    assert not list(Region.parse("twt=48").left_out(open_survey(request.cube)))
    within = Region.parse("inlines=100:128,crosslines=310,twt=4:104")
    assert list(within.left_out(open_survey(request.cube))) == []


def test_a_region_of_one_sample_is_computed_by_patches(request_for):
    request = request_for("slice.sgy", region=Region.parse("twt=47"))
    run = CubeRun(request)
    assert (run.plan.engine, run.plan.box.samples) == ("patch", range(11, 12))
    run.work()
    expected = facies_of(line_by_line(request))[:, :, 11:12]
    np.testing.assert_array_equal(traces(request.out, 1, 1)[:, 240:].view(np.int8), by_trace(request, expected))


def test_samples_that_are_no_amplitudes_are_said(build_segy, request_for, tmp_path):
    samples = reflections(16, 30)
    path = build_segy(grid(range(1, 5), range(1, 5)), samples, name="whole.sgy")
    samples[5, 7] = np.nan
    holed = build_segy(grid(range(1, 5), range(1, 5)), samples, name="nan.sgy")
    sentence = "Warning: Some of its samples are no amplitudes (NaN, infinite, 1e30): taken as silence.\n"
    model = ["--model", str(request_for("x.sgy").model), "--device", "cpu"]
    for survey in (path, holed):
        for command in (["cube", survey, tmp_path / f"of_{survey.name}"], ["slice", survey, "--twt", "20"]):
            out = ["--out", str(tmp_path / "time.png")] if command[0] == "slice" else []
            done = CliRunner().invoke(app, [*map(str, command), *out, *model])
            assert done.exit_code == 0, done.output
            assert (sentence in done.stderr) == (survey == holed)


def test_zarr_opens_in_xarray(request_for):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("zarr")
    request = request_for("facies.zarr", along="crossline", confidence=True, region=Region.parse("twt=24:60"))
    CubeRun(request).work()
    expected = line_by_line(request, "crossline")[..., 5:15]
    with xarray.open_zarr(request.out, consolidated=False) as found:
        assert found.facies.dims == ("inline", "crossline", "twt_ms")
        np.testing.assert_array_equal(found.inline, INLINES)
        np.testing.assert_array_equal(found.crossline, CROSSLINES)
        np.testing.assert_array_equal(found.twt_ms, np.arange(24, 64, 4))
        assert found.facies.dtype == np.int8
        np.testing.assert_array_equal(found.facies, facies_of(expected))
        np.testing.assert_allclose(found.confidence, expected.max(axis=0), atol=1e-6)
        assert found.facies.attrs["facies_names"] == ["layers", "salt", "else"]
        assert not found.trace_mask.sel(inline=104, crossline=305)
        assert int(found.trace_mask.sum()) == 15 * 21 - 1
    assert not [*request.out.parent.glob(".*.partial"), *request.out.parent.glob("*.journal")]


RUN = """
import pickle, sys, time
import infer.cube, infer.cube_plan
infer.cube_plan.LINES = 1
keep = infer.cube.CubeRun.keep
infer.cube.CubeRun.keep = lambda *block: (time.sleep(0.05), keep(*block))
infer.cube.CubeRun(pickle.load(sys.stdin.buffer)).work()
"""
"""A run that takes its time: 15 blocks of a line."""


def start(request: CubeRequest) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", RUN], stdin=subprocess.PIPE)
    process.stdin.write(pickle.dumps(request))
    process.stdin.close()
    return process


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
@pytest.mark.parametrize("suffix", [".sgy", ".zarr"])
def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(request_for, suffix, tmp_path):
    if suffix == ".zarr":
        pytest.importorskip("zarr")
    undisturbed, killed = (request_for(f"{name}{suffix}", confidence=True) for name in ("undisturbed", "killed"))
    began = time.monotonic()
    assert start(undisturbed).wait() == 0
    takes = time.monotonic() - began
    moments, journal = random.Random(7), tmp_path / f"killed{suffix}.journal"
    done = set()
    for _ in range(int(os.environ.get("INFER_TEST_KILLS", "6"))):
        process = start(killed)
        try:
            process.wait(moments.uniform(0.4, 0.8) * takes)
            break  # too late: it is done
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        done.add(journal.read_bytes().count(b"block") if journal.exists() else 0)
    assert done - {0, 15}, "no kill met a run at work"
    if journal.exists() or not killed.out.exists():
        assert start(killed).wait() == 0
    assert contents(killed.out) == contents(undisturbed.out)


def contents(path: Path) -> dict[str, bytes]:
    """Of a file and those beside it, or of a folder."""
    files = path.rglob("*") if path.is_dir() else path.parent.glob(f"{path.stem}*{path.suffix}")
    root = path if path.is_dir() else path.parent
    return {str(f.relative_to(root)).replace(path.stem, ""): f.read_bytes() for f in files if f.is_file()}


@pytest.fixture
def interrupted(request_for, monkeypatch):
    """A run whose disk is full after its first block."""
    request = request_for("facies.sgy", confidence=True)
    run = CubeRun(request)
    write, blocks = run.store.write, itertools.count()

    def full(*arguments):
        if next(blocks):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(*arguments)

    monkeypatch.setattr(run.store, "write", full)
    with pytest.raises(OutputError) as caught:
        run.work()
    assert str(caught.value) == (
        f"{request.out} could not be written: No space left on device. What is done is kept: the same command goes on."
    )
    return request


def test_after_a_full_disk_it_goes_on(interrupted, request_for):
    assert not interrupted.out.exists()
    again = CubeRun(interrupted)
    assert (again.journal.done, len(again.remaining)) == ({0}, 1)
    again.work()
    CubeRun(other := request_for("other.sgy", confidence=True)).work()
    assert contents(other.out) == contents(interrupted.out)


@pytest.mark.parametrize(
    ("change", "then", "now"),
    [
        ({"along": "crossline"}, "its direction is inline", "crossline"),
        ({"clip": 50.0}, "its amplitude_clip is 60.0", "50.0"),
        ({"keep_partial": True}, "its run is without --keep-partial", "with --keep-partial"),
        ({"confidence": False}, 'its output is ["facies.sgy", "facies", "confidence"]', '["facies.sgy", "facies"]'),
        (
            {"region": Region.parse("inlines=100:108")},
            "its region is inlines=100:128,crosslines=300:320,twt=4:104",
            "inlines=100:108,crosslines=300:320,twt=4:104",
        ),
    ],
)
def test_it_does_not_go_on_with_something_else(interrupted, change, then, now):
    with pytest.raises(OutputError) as caught:
        CubeRun(replace(interrupted, **change))
    assert str(caught.value) == (
        f"{interrupted.out}.journal is the journal of another run: {then}, and {now} is asked for now. "
        "Ask for the same as then to go on with it, or start over with --restart."
    )
    assert len(CubeRun(replace(interrupted, **change), restart=True).remaining) > 0


@pytest.mark.parametrize("keep_partial", [True, False])
def test_starting_over_leaves_nothing_of_the_other_run(request_for, keep_partial):
    request = request_for("facies.sgy", confidence=True, keep_partial=keep_partial)
    CubeRun(request)
    CubeRun(replace(request, keep_partial=not keep_partial), restart=True).work()
    found = {path.name for path in request.out.parent.iterdir() if "facies" in path.name}
    assert found == {"facies.sgy", "facies.confidence.sgy"}


def test_starting_over_deletes_what_else_the_other_run_wrote(request_for):
    request = request_for("facies.sgy", confidence=True, keep_partial=True)
    CubeRun(request)
    assert request.out.with_name("facies.confidence.partial.sgy").exists()
    CubeRun(replace(request, confidence=False), restart=True).work()
    assert [path.name for path in request.out.parent.iterdir() if "facies" in path.name] == ["facies.sgy"]


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("name", ["facies.partial.sgy", "facies.confidence.partial.sgy", "facies.partial.zarr"])
def test_what_has_a_partial_name_and_is_no_runs_stays(request_for, name, restart):
    kept = request_for(name).out
    if kept.suffix == ".zarr":
        pytest.importorskip("zarr")
        kept.mkdir()
        (kept / "notes").write_text("mine")
    else:
        kept.write_text("mine")
    request = request_for(f"facies{kept.suffix}", keep_partial=True, confidence=True)
    with pytest.raises(OutputError) as caught:
        CubeRun(request, restart=restart)
    assert str(caught.value) == f"{kept} is there already. Choose another name, or delete it first."
    assert (kept / "notes" if kept.is_dir() else kept).read_text() == "mine"
    assert not request.out.with_name(f"{request.out.name}.journal").exists()


def test_a_survey_may_have_a_partial_name(request_for):
    request = request_for("facies.sgy", keep_partial=True)
    survey = request.cube.rename(request.cube.with_name("facies.partial.sgy"))
    before = survey.read_bytes()
    with pytest.raises(OutputError) as caught:
        CubeRun(replace(request, cube=survey))
    assert str(caught.value) == f"{survey} is the survey itself; choose another name for the facies."
    assert survey.read_bytes() == before


def test_what_has_appeared_under_the_name_meanwhile_stays(request_for):
    request = request_for("facies.sgy", confidence=True)
    run = CubeRun(request)
    appeared = request.out.with_name("facies.confidence.sgy")
    appeared.write_text("mine")
    with pytest.raises(OutputError) as caught:
        run.work()
    assert str(caught.value) == (
        f"{appeared} has appeared meanwhile, and is not replaced. Move it away, and the same command gives its name to "
        f"{appeared.with_name('.facies.confidence.sgy.partial')}, which is whole."
    )
    assert appeared.read_text() == "mine"
    appeared.unlink()
    again = CubeRun(request)
    assert not again.remaining
    again.work()
    CubeRun(other := request_for("other.sgy", confidence=True)).work()
    assert contents(request.out) == contents(other.out)
    assert not request.out.with_name("facies.sgy.journal").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="links take rights on Windows")
@pytest.mark.parametrize("suffix", [".sgy", ".zarr"])
def test_a_link_to_nothing_is_in_the_way(request_for, suffix):
    request = request_for(f"facies{suffix}")
    request.out.symlink_to("nowhere")
    if suffix == ".zarr":
        pytest.importorskip("zarr")
    with pytest.raises(OutputError) as caught:
        CubeRun(request)
    assert str(caught.value) == f"{request.out} is there already. Choose another name, or delete it first."


def test_nor_with_another_model_or_source(interrupted, sliced_model):
    with pytest.raises(OutputError, match=r"its model is tiny \(\w+\), and tiny \(\w+\) is asked for now"):
        CubeRun(replace(interrupted, model=str(sliced_model(10))))
    content = bytearray(interrupted.cube.read_bytes())
    content[3600 + 240 + 50] ^= 1
    interrupted.cube.write_bytes(content)
    with pytest.raises(OutputError, match=r"its source is cube.sgy \(\w+\), and cube.sgy \(\w+\) is asked for now"):
        CubeRun(interrupted)


def test_a_torn_journal_costs_its_last_block(interrupted):
    journal = interrupted.out.with_name("facies.sgy.journal")
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-3])
    assert CubeRun(interrupted).journal.done == set()
    journal.write_bytes(whole + b'{"blo')
    assert CubeRun(interrupted).journal.done == {0}
    for damaged in (b"no journal\n", b"123\n", whole + b'{"lock": 1}\n', whole + b"1\n"):
        journal.write_bytes(damaged)
        with pytest.raises(OutputError, match="cannot be read as the journal of a run"):
            CubeRun(interrupted)


def test_nor_with_a_source_that_was_changed_since(interrupted):
    content = bytearray(interrupted.cube.read_bytes())
    spread = set(range(0, 316, 6))
    unread = next(n for n in range(316) if n not in spread)
    content[3600 + unread * (240 + 4 * SAMPLES) + 240] ^= 1
    interrupted.cube.write_bytes(content)
    before = CubeRun(replace(interrupted, out=interrupted.out.with_name("other.sgy"))).plan.describe()
    os.utime(interrupted.cube, (0, 10**9))
    with pytest.raises(OutputError) as caught:
        CubeRun(interrupted)
    then = json.loads(interrupted.out.with_name("facies.sgy.journal").read_bytes().split(b"\n")[0])
    assert str(caught.value) == (
        "The survey was changed or copied at 2001-09-09T01:46:40Z, since this run was begun: it was of "
        f"{then[CHANGED]}. If nothing in it has changed, set that time again (`touch -d`); else start over with "
        "--restart."
    )
    assert before["source"] == then["source"]  # no other sign of it


def test_a_journal_that_does_not_say_when_the_source_was_changed_is_gone_on_with(interrupted):
    journal = interrupted.out.with_name("facies.sgy.journal")
    first, *blocks = journal.read_bytes().split(b"\n")
    entry = json.loads(first)
    del entry[CHANGED]
    journal.write_bytes(b"\n".join([json.dumps(entry).encode(), *blocks]))
    assert CubeRun(interrupted).journal.done == {0}


def test_a_restart_that_is_refused_loses_nothing(interrupted, monkeypatch):
    foreign = interrupted.out.with_name("facies.partial.sgy")
    foreign.write_text("mine")
    with pytest.raises(OutputError, match=r"facies\.partial\.sgy is there already"):
        CubeRun(replace(interrupted, keep_partial=True), restart=True)
    interrupted.out.write_text("mine")
    with pytest.raises(OutputError, match=r"facies\.sgy is there already"):
        CubeRun(interrupted, restart=True)
    interrupted.out.unlink()
    with monkeypatch.context() as patched:
        patched.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": -(10**9)}))
        with pytest.raises(OutputError, match="Make room"):
            CubeRun(interrupted, restart=True)
    assert CubeRun(interrupted).journal.done == {0}


def test_a_restart_deletes_only_what_the_other_run_has_made(request_for):
    request = request_for("facies.sgy", keep_partial=True)
    CubeRun(request)
    foreign = request.out.with_name("facies.confidence.partial.sgy")
    foreign.write_text("mine")
    with pytest.raises(OutputError, match=r"facies\.confidence\.partial\.sgy is there already"):
        CubeRun(replace(request, confidence=True), restart=True)
    assert foreign.read_text() == "mine"


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("content", [b"my notes", b"my notes\n", b'{"output": 5}\n', b"[]\n"])
def test_what_has_the_journals_name_and_is_none_stays(request_for, content, restart):
    request = request_for("facies.sgy")
    journal = request.out.with_name("facies.sgy.journal")
    journal.write_bytes(content)
    with pytest.raises(OutputError) as caught:
        CubeRun(request, restart=restart)
    assert str(caught.value) == (
        f"{journal} cannot be read as the journal of a run. Move it away, or choose another name."
    )
    assert journal.read_bytes() == content
    survey = request.cube.rename(journal)
    with pytest.raises(OutputError, match="is the survey itself"):
        CubeRun(replace(request, cube=survey), restart=restart)


@pytest.mark.parametrize("begun", [b"", b'{"sou', b'{"source": "cube.sgy'])
@pytest.mark.parametrize("keep_partial", [False, True])
def test_a_journal_that_was_hardly_begun_owns_nothing(request_for, begun, keep_partial):
    request = request_for("facies.sgy", keep_partial=keep_partial)
    journal, partial = request.out.with_name("facies.sgy.journal"), *CubeRun(request).partials.values()
    journal.write_bytes(begun)
    with pytest.raises(OutputError, match="is there already"):
        CubeRun(request)
    partial.unlink()
    CubeRun(request).work()
    assert request.out.exists() and not journal.exists()


def test_finished_blocks_that_are_gone_are_said(interrupted):
    partial = interrupted.out.with_name(".facies.confidence.sgy.partial")
    elsewhere = partial.rename(partial.with_name("elsewhere.sgy"))
    with pytest.raises(OutputError) as caught:
        CubeRun(interrupted)
    assert str(caught.value) == (
        f"{partial} is gone, with the blocks that were done. Put it back, or start over with --restart."
    )
    elsewhere.rename(partial)
    assert CubeRun(interrupted).journal.done == {0}


def test_it_goes_on_after_a_torn_line_more_than_once(interrupted, monkeypatch):
    journal = interrupted.out.with_name("facies.sgy.journal")
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"blo')
    with monkeypatch.context() as patched:
        patched.setattr(CubeRun, "give_names", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            CubeRun(interrupted).work()
    assert journal.read_bytes().startswith(whole + b'{"block": ')
    assert CubeRun(interrupted).journal.done == {0, 1}


@pytest.mark.parametrize("keep_partial", [False, True])
def test_a_second_start_does_not_begin_over_what_the_first_has_done(request_for, keep_partial, monkeypatch):
    request = request_for("facies.sgy", keep_partial=keep_partial)
    first, refused = [], []

    def create(store, *, filled):
        made(store, filled=filled)
        if not first:
            first.append(True)
            with pytest.raises(OutputError) as caught:
                CubeRun(request)
            refused.append(str(caught.value))

    made = SegyStore.create
    monkeypatch.setattr(SegyStore, "create", create)
    CubeRun(request).work()
    assert refused[0].startswith("Another run is at work on the same output")
    assert request.out.exists()


@pytest.mark.parametrize("options", [{}, {"keep_partial": True}])
def test_a_run_that_ends_before_its_first_block_leaves_nothing(request_for, options):
    request, cancel = request_for("facies.sgy", **options), threading.Event()
    cancel.set()
    before = set(request.out.parent.iterdir())
    run = CubeRun(request)
    assert set(request.out.parent.iterdir()) != before
    with pytest.raises(Cancelled):
        run.work(None, cancel)
    assert set(request.out.parent.iterdir()) == before
    CubeRun(replace(request, along="crossline"))  # another run may have the name, without `restart`


def test_a_cancel_keeps_what_is_done(request_for):
    request, cancel = request_for("facies.sgy"), threading.Event()
    seen = []

    def stop_in_the_second_block(advance):
        seen.append(advance)
        if advance.lines_done > 8:
            cancel.set()

    with pytest.raises(Cancelled):
        CubeRun(request).work(stop_in_the_second_block, cancel)
    assert CubeRun(request).journal.done == {0}
    assert not request.out.exists()
    assert [a.lines_done for a in seen] == sorted(a.lines_done for a in seen)
    assert seen[-1].lines == 15


def test_a_partial_file_can_be_looked_at(request_for):
    request = request_for("facies.sgy", keep_partial=True)
    run = CubeRun(request)
    partial = request.out.with_name("facies.partial.sgy")
    assert (read_cube(partial) == -1).all()
    np.testing.assert_array_equal(traces(partial, SAMPLES, 1)[:, :240], traces(request.cube, SAMPLES, 4)[:, :240])
    run.work()
    assert not partial.exists()
    np.testing.assert_array_equal(read_cube(request.out), by_trace(request, facies_of(line_by_line(request))))


def test_what_is_refused(request_for, tmp_path, monkeypatch):
    request = request_for("facies.sgy")
    (tmp_path / "there.sgy").write_bytes(b"")
    expected = {
        "A cube is classified along inline, crossline or both, not 'time'.": {"along": "time"},
        "At least one worker computes, so 0 workers make no sense.": {"workers": 0},
        "tiny has no facies 'coal': it has layers, salt, else.": {"probabilities": ("coal",)},
        "facies.npz: the suffix says what to write, and of a whole survey that is .sgy or .zarr.": {
            "out": tmp_path / "facies.npz"
        },
        f"{tmp_path / 'no/facies.sgy'} cannot be written: {tmp_path / 'no'} is not a folder that can be written to.": {
            "out": tmp_path / "no/facies.sgy"
        },
        "facies.Confidence.SGY is the name of a confidence, and OUT that of the facies: `facies.SGY --confidence` "
        "writes both.": {"out": tmp_path / "facies.Confidence.SGY"},
        "facies.probability_salt.sgy is the name of a probability, and OUT that of the facies: `facies.sgy "
        "--probability` writes both.": {"out": tmp_path / "facies.probability_salt.sgy"},
        f"{request.cube} is the survey itself; choose another name for the facies.": {"out": request.cube},
        f"{tmp_path / 'there.sgy'} is there already. Choose another name, or delete it first.": {
            "out": tmp_path / "there.sgy"
        },
        "cube.sgy has no inlines from 1 to 9: they run from 100 to 128 in steps of 2. See "
        f"`infer scan {request.cube}`.": {"region": Region((1, 9))},
        "cube.sgy has no samples from 200 to 300 ms: they run from 4 to 104 ms, one every 4 ms.": {
            "region": Region(twt=(200, 300))
        },
    }
    for sentence, change in expected.items():
        with pytest.raises((OptionError, OutputError, LineNotFoundError)) as caught:
            CubeRun(replace(request, **change))
        assert str(caught.value) == sentence
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(OutputError) as caught:
        CubeRun(request)
    assert str(caught.value) == (
        f"{request.out} would take 0.0 GB, and {tmp_path} has 0.0 GB free. Make room, or choose another folder or a "
        "--region."
    )


@pytest.mark.parametrize("text", ["inline=1:2", "twt=", "twt=1:2,twt=1:2", "inlines=a:b", "twt=1:2:3"])
def test_regions_that_are_none(text):
    with pytest.raises(OptionError) as caught:
        Region.parse(text)
    part = text.split(",")[-1]
    assert str(caught.value) == (
        "A region is written like inlines=100:200,crosslines=300:400,twt=1000:1400, times in ms, each at most once; "
        f"'{part}' is not."
    )


def test_a_folder_that_cannot_be_written_to_is_refused_at_once(request_for, monkeypatch):
    request = request_for("facies.sgy")
    monkeypatch.setattr("os.access", lambda _path, mode: mode != os.W_OK)
    with pytest.raises(OutputError) as caught:
        CubeRun(request)
    assert str(caught.value) == (
        f"{request.out} cannot be written: {request.out.parent} is not a folder that can be written to."
    )


def test_regions_that_run_backwards():
    with pytest.raises(OptionError) as caught:
        Region.parse("twt=1:2,inlines=-2:-4")
    assert str(caught.value) == (
        "'inlines=-2:-4' runs backwards: write inlines=-4:-2, whichever way the survey counts."
    )


def test_line_numbers_of_seven_digits_are_told_apart(build_segy, request_for):
    positions = [(inline, 20) for inline in range(1000001, 1000021)]
    cube = build_segy(positions, reflections(len(positions), SAMPLES), name="long.sgy")
    request = replace(request_for("facies.sgy"), cube=cube, region=Region((1000001, 1000009)))
    run = CubeRun(request)
    assert run.plan.describe()["region"] == "inlines=1000001:1000009,crosslines=20:20,twt=0:100"
    with pytest.raises(OutputError) as caught:
        CubeRun(replace(request, region=Region((1000002, 1000010))))
    assert "its region is inlines=1000001:1000009," in str(caught.value)
    with pytest.raises(LineNotFoundError) as missing:
        CubeRun(replace(request, region=Region((1000030, 1000030))))
    assert str(missing.value).startswith("long.sgy has no inlines 1000030: they run from 1000001 to 1000020.")


HOLD = (
    "import sys; from pathlib import Path; from infer.journal import held\n"
    "with held(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
)


@pytest.mark.skipif(sys.platform == "win32", reason="a killed process may hold its lock for a while")
@pytest.mark.parametrize("restart", [False, True])
def test_another_run_that_is_at_work_is_left_alone(request_for, restart):
    request = request_for("facies.sgy")
    prepared = CubeRun(request)
    journal = request.out.with_name("facies.sgy.journal")
    there = sorted(request.out.parent.iterdir())
    with subprocess.Popen([sys.executable, "-c", HOLD, journal], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout.readline() == "held\n"
        for attempt in (prepared.work, lambda: CubeRun(request, restart=restart)):
            with pytest.raises(OutputError) as caught:
                attempt()
            assert str(caught.value) == (
                f"Another run is at work on the same output: it holds {journal}. "
                "Wait for it, stop it, or choose another name."
            )
            assert sorted(request.out.parent.iterdir()) == there
        other.kill()
    CubeRun(request, restart=restart).work()
    assert request.out.exists()


def test_a_run_that_another_one_went_on_with_does_not_go_on(request_for):
    request = request_for("facies.sgy")
    early = CubeRun(request)
    early.journal.add(0)
    late = CubeRun(request)
    early.journal.add(1)
    with pytest.raises(OutputError) as caught:
        late.work()
    assert (
        str(caught.value) == f"Another run has been at work on {late.journal.path} meanwhile. The same command goes on."
    )
    early.journal.remove()
    with pytest.raises(OutputError) as caught:
        early.work()
    assert str(caught.value) == (
        f"{early.journal.path} is gone: another run has ended that was at work on the same output."
    )


def test_lines_that_are_mostly_holes_are_a_warning(build_segy, request_for):
    positions = [(7, crossline) for crossline in range(1, 21)] + [(inline, 5) for inline in range(1, 21) if inline != 7]
    path = build_segy(positions, reflections(39, 30), name="cross.sgy")
    request = replace(request_for("facies.sgy"), cube=path)
    whole = Plan(replace(request, along="both"))
    little = "a line has traces at 9.8% of its places on average: what is classified there is mostly silence."
    assert list(whole.sparse(other_way="--along")) == [f"Along inlines {little}", f"Along crosslines {little}"]
    one = Plan(replace(request, region=Region(inlines=(7, 7)), along="crossline"))
    assert list(one.sparse()) == [f"Along crosslines {little}"]
    assert list(one.sparse(other_way="--along")) == [
        f"Along crosslines {little} Along inlines they have more: `--along inline`."
    ]
    assert not list(Plan(replace(request, region=Region(inlines=(7, 7)))).sparse())


def test_the_command(request_for, cube, tmp_path, monkeypatch):
    model = request_for("facies.sgy").model
    words = ["cube", str(cube), str(tmp_path / "facies.sgy"), "--model", model, "--device", "cpu"]
    done = CliRunner().invoke(app, [*words, "--clip", "60"])
    assert done.exit_code == 0
    said = done.stdout.splitlines()
    assert said[0] == f"Wrote {tmp_path / 'facies.sgy'}"
    assert said[1].startswith("tiny on CPU (") and ", slice engine: 8,138 samples classified in " in said[1]

    compute, blocks = infer.cube.compute_block, itertools.count()

    def interrupted(*given):
        if next(blocks):
            raise KeyboardInterrupt
        return compute(*given)

    monkeypatch.setattr(infer.cube, "compute_block", interrupted)
    words[2] = str(tmp_path / "other.sgy")
    stopped = CliRunner().invoke(app, words)
    assert isinstance(stopped.exception, Cancelled)
    assert str(stopped.exception) == "Stopped. 8 of 15 lines are done and kept; the same command goes on."
    monkeypatch.setattr(infer.cube, "compute_block", compute)
    again = CliRunner().invoke(app, words)
    assert again.stdout.splitlines()[0] == "Going on: 1 of 2 blocks are done."
    assert "slice engine: 3,822 samples classified in " in again.stdout


@pytest.fixture
def cluster():
    """Two worker processes of one thread each."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as cluster:
        yield cluster


@pytest.mark.parametrize("suffix", [".sgy", ".zarr"])
def test_many_machines_give_the_same_bytes(request_for, cluster, suffix):
    from infer.cube_dask import work_with_dask

    if suffix == ".zarr":
        pytest.importorskip("zarr")
    one, many = (request_for(f"{name}{suffix}", confidence=True) for name in ("one", "many"))
    CubeRun(one).work()
    seen = []
    work_with_dask(CubeRun(many), cluster.scheduler_address, seen.append)
    assert contents(one.out) == contents(many.out)
    assert (seen[-1].lines_done, seen[-1].samples, len(seen)) == (15, 8138, 2)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
def test_a_block_of_a_lost_worker_is_done_again(request_for, cluster, monkeypatch):
    import distributed

    from infer.cube_dask import work_with_dask

    monkeypatch.setattr("infer.cube_plan.LINES", 1)
    monkeypatch.setattr("infer.cube_dask._do_block", slowly)
    one, many = request_for("one.sgy"), request_for("many.sgy")
    CubeRun(one).work()
    lost = []

    def lose_one(advance):
        if not lost and advance.lines_done >= 3:
            with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
                lost.extend(client.run(os.getpid).values())
            os.kill(lost[0], signal.SIGKILL)

    work_with_dask(CubeRun(many), cluster.scheduler_address, lose_one)
    assert len(lost) == 2
    assert contents(one.out) == contents(many.out)


def slowly(number, spec):
    """In blocks of a line, each of which takes a moment."""
    import infer.cube_plan
    from infer import cube_dask

    infer.cube_plan.LINES = 1
    time.sleep(0.2)
    return cube_dask._do_block(number, spec)


def test_no_scheduler_is_a_sentence(request_for, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("infer.cube_dask.TIMEOUT_S", 1)
    from infer.cube_dask import work_with_dask

    with pytest.raises(DeviceError, match=r"^There is no dask scheduler at tcp://127.0.0.1:9: "):
        work_with_dask(CubeRun(request_for("facies.sgy")), "tcp://127.0.0.1:9")
    monkeypatch.setattr("infer.cube_dask.Client", None)  # which would be in the way for half a minute
    for address, reason in {"nonsense": "missing port number", "ftp://a:3": "unknown address scheme"}.items():
        with pytest.raises(DeviceError, match=rf"^There is no dask scheduler at {address}: {reason}"):
            work_with_dask(CubeRun(request_for("facies.sgy")), address)
    assert not list(request_for("facies.sgy").out.parent.glob("*facies*"))


@pytest.mark.parametrize("suffix", [".sgy", ".zarr"])
def test_lines_of_the_demo_survey(tmp_path, suffix):
    demo = write_demo(tmp_path / "demo", inlines=range(300, 309))
    out = tmp_path / f"facies{suffix}"
    CubeRun(CubeRequest(demo.survey, out, "demo", device="cpu")).work()
    survey = open_survey(demo.survey)
    model = load_model("demo", "cpu")
    expected = classify(survey.read_inline(308), model, survey.amplitude_clip).facies
    if suffix == ".sgy":
        with segyio.open(out) as file:
            assert (file.ilines.tolist(), file.xlines[[0, -1]].tolist()) == ([*range(300, 309)], [400, 631])
            found = file.iline[308]
    else:
        xarray = pytest.importorskip("xarray")
        pytest.importorskip("zarr")
        with xarray.open_zarr(out, consolidated=False) as cube:
            found = cube.facies.sel(inline=308).values
    np.testing.assert_array_equal(found, expected)


@pytest.mark.shared
def test_every_odd_file_that_opens_becomes_a_cube_with_its_headers(shared, sliced_model, tmp_path):
    model, done = str(sliced_model(8)), 0
    for path in sorted((shared / "segy").rglob("*.sgy")):
        try:
            survey = open_survey(path)
        except InferError:
            continue
        if survey.n_traces * survey.n_samples > 300_000:
            continue
        out = tmp_path / f"facies_{done}.sgy"
        CubeRun(CubeRequest(path, out, model, device="cpu")).work()
        file, everything = survey.file, np.arange(survey.n_traces)
        rows = np.fromfile(out, np.uint8)[file.first_byte :].reshape(survey.n_traces, -1)
        assert rows.shape[1] == file.header_bytes + survey.n_samples, path.name
        np.testing.assert_array_equal(rows[:, : file.header_bytes], file.headers(everything), path.name)
        done += 1
    assert done > 30
