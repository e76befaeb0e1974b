"""Time slices, and finished cubes drawn without computing anything."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from infer import classify, load_model, open_survey
from infer.cli import app
from infer.cube import CubeRun
from infer.cube_plan import CubeRequest, Plan
from infer.errors import LineNotFoundError, OptionError, SurveyError
from infer.finished import open_cube
from infer.region import Region
from infer.time_slice import amplitudes_at, classify_time_slice
from tests.conftest import grid, reflections

CLIP = 60.0


@pytest.fixture
def cube(build_segy):
    positions = grid(range(100, 122, 2), range(300, 313), by="crossline")
    positions.remove((104, 305))
    samples = reflections(len(positions), 20)
    samples[positions.index((108, 300))] = 0
    return build_segy(positions, samples, traces_say={109: ("h", [4] * len(positions))})


@pytest.fixture
def model(sliced_model):
    return str(sliced_model(8))


def expected_of(cube, model) -> np.ndarray:
    """Facies `[inline, crossline, sample]`, line by line."""
    survey, loaded = open_survey(cube), load_model(model, "cpu")
    return np.stack([classify(survey.read_inline(n), loaded, CLIP).facies for n in range(100, 122, 2)])


def test_a_time_slice_is_a_sample_of_every_line(cube, model):
    plan = Plan(CubeRequest(cube, cube, model, region=Region(twt=(33, 33)), confidence=True, clip=CLIP, device="cpu"))
    seen = []
    result = classify_time_slice(plan, lambda *advance: seen.append(advance))
    np.testing.assert_array_equal(result.facies, expected_of(cube, model)[..., 7])
    assert (result.twt_ms, seen) == (32.0, [(8, 11), (11, 11)])
    np.testing.assert_array_equal(result.amplitude[1], open_survey(cube).read_inline(102).amplitude[:, 7])
    assert np.isnan(result.amplitude[2, 5]) and np.isnan(result.confidence[2, 5])
    np.testing.assert_array_equal(
        amplitudes_at(open_survey(cube), 33, result.inline[1:5], result.crossline[2:]), result.amplitude[1:5, 2:]
    )
    with pytest.raises(OptionError) as caught:
        classify_time_slice(Plan(CubeRequest(cube, cube, model, device="cpu")))
    assert str(caught.value) == "A time slice has one sample a trace, and this region has 20."


@pytest.mark.parametrize("suffix", [".sgy", ".zarr"])
def test_a_finished_cube_is_read_by_line_and_by_time(cube, model, tmp_path, suffix):
    if suffix == ".zarr":
        pytest.importorskip("zarr")
    out = tmp_path / f"facies{suffix}"
    CubeRun(CubeRequest(cube, out, model, clip=CLIP, device="cpu", region=Region(twt=(20, 60)))).work()
    expected = expected_of(cube, model)[..., 4:15]
    finished = open_cube(out)
    np.testing.assert_array_equal(finished.twt_ms, np.arange(20, 64, 4))
    np.testing.assert_array_equal(finished.line("inline", 104), expected[2])
    np.testing.assert_array_equal(finished.line("crossline", 312), expected[:, 12])
    facies, twt_ms = finished.at_time(33)
    np.testing.assert_array_equal(facies, expected[..., 3])
    assert twt_ms == 32
    with pytest.raises(LineNotFoundError) as caught:
        finished.line("inline", 105)
    assert str(caught.value) == f"facies{suffix} has no inline 105: its inlines run from 100 to 120."
    with pytest.raises(OptionError) as caught:
        finished.at_time(70)
    assert str(caught.value) == f"facies{suffix} has no sample at 70 ms: they run from 20 to 60 ms."


def test_a_survey_is_no_finished_cube(cube):
    with pytest.raises(SurveyError) as caught:
        open_cube(cube)
    assert str(caught.value) == (
        "cube.sgy holds no facies: they are 8-bit signed integers, not 32-bit IEEE float, big-endian."
    )


def test_the_commands_draw(cube, model, tmp_path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "facies.sgy"
    CubeRun(CubeRequest(cube, out, model, clip=CLIP, device="cpu")).work()
    picture = tmp_path / "picture.png"
    for words in (["--inline", "104"], ["--crossline", "303"], ["--twt", "33"]):
        for source in ([], ["--survey", str(cube)]):
            done = CliRunner().invoke(app, ["view", str(out), *words, *source, "--out", str(picture)])
            assert (done.exit_code, done.stdout) == (0, f"Wrote {picture}\n")
            elsewhere = (
                "Warning: There is no sample at 33 ms: this is the nearest, at 32 ms.\n" if "33" in words else ""
            )
            assert done.stderr == elsewhere
            assert picture.read_bytes().startswith(b"\x89PNG")
            picture.unlink()
    asked = CliRunner().invoke(app, ["view", str(out), "--inline", "104", "--twt", "33"])
    assert str(asked.exception) == "Say what to draw: one of --inline N, --crossline N and --twt T."

    arrays = tmp_path / "time.npz"
    words = ["slice", str(cube), "--twt", "33", "--model", model, "--device", "cpu", "--clip", "60"]
    done = CliRunner().invoke(app, [*words, "--out", str(picture), "--out", str(arrays)])
    assert done.exit_code == 0
    assert "Warning: There is no sample at 33 ms: this is the nearest, at 32 ms.\n" in done.stderr
    assert done.stdout.splitlines()[2].startswith("tiny on CPU (")
    refusals = {
        "A time slice is of all traces: --twt goes without --inline, --crossline, --stride and --batch-size.": [
            "--batch-size",
            "8",
        ],
        "time.sgy: the suffix says what to write, and of a time slice that is .png or .npz.": ["--out", "time.sgy"],
    }
    for sentence, more in refusals.items():
        assert str(CliRunner().invoke(app, [*words, *more]).exception) == sentence
    nothing = [*words[:2], *words[4:]]
    assert str(CliRunner().invoke(app, nothing).exception) == (
        "Say what to classify: one of --crossline N, --inline N and --twt T."
    )
    words[3] = "330"
    assert str(CliRunner().invoke(app, words).exception) == (
        "cube.sgy has no samples at 330 ms: they run from 4 to 80 ms, one every 4 ms."
    )
    with np.load(arrays) as saved:
        np.testing.assert_array_equal(saved["facies"], expected_of(cube, model)[..., 7])


def test_another_survey_is_not_drawn_under_the_facies(cube, model, tmp_path, build_segy):
    out, picture = tmp_path / "facies.sgy", tmp_path / "picture.png"
    CubeRun(CubeRequest(cube, out, model, clip=CLIP, device="cpu", region=Region(twt=(20, 60)))).work()
    shapes = {
        "inlines from 100 to 120": (range(100, 120, 2), range(300, 313), 20),
        "crosslines from 300 to 312": (range(100, 122, 2), range(301, 313), 20),
        "samples from 20 to 60 ms": (range(100, 122, 2), range(300, 313), 14),
    }
    for what, (inlines, crosslines, n_samples) in shapes.items():
        positions = grid(inlines, crosslines)
        delay = {109: ("h", [4] * len(positions))}
        other = build_segy(positions, reflections(len(positions), n_samples), name="other.sgy", traces_say=delay)
        words = ["view", str(out), "--inline", "104", "--survey", str(other), "--out", str(picture)]
        assert str(CliRunner().invoke(app, words).exception) == (
            f"facies.sgy was not made of other.sgy, which does not have its {what}. Give the survey that `infer cube` "
            "has classified."
        )
    assert not picture.exists()


def test_another_survey_of_the_same_lines_and_times_is_a_warning(build_segy, cube, model, tmp_path):
    pytest.importorskip("matplotlib")
    out, part = tmp_path / "facies.sgy", tmp_path / "part.sgy"
    request = CubeRequest(cube, out, model, clip=CLIP, device="cpu")
    CubeRun(request).work()
    CubeRun(replace(request, out=part, region=Region(inlines=(104, 110), twt=(20, 60)))).work()
    positions = grid(range(98, 132, 2), range(300, 321))
    says = {109: ("h", [4] * len(positions)), 21: ("i", range(5, 5 + len(positions)))}
    other = build_segy(positions, reflections(len(positions), 26), name="other.sgy", traces_say=says)
    for made in (out, part):
        words = ["view", str(made), "--inline", "104", "--out", str(tmp_path / "picture.png"), "--survey"]
        assert CliRunner().invoke(app, [*words, str(cube)]).stderr == ""
        assert CliRunner().invoke(app, [*words, str(other)]).stderr == (
            f"Warning: The first trace of {made.name} has another header than that of other.sgy at the same place: "
            "it may have been made of another survey.\n"
        )


def test_what_is_no_cube_of_facies_is_a_sentence(cube, tmp_path, build_segy):
    amplitudes = build_segy(grid(range(1, 5), range(1, 5)), reflections(16, 30), code=8, name="amplitudes.sgy")
    for found in (lambda: open_cube(amplitudes).line("inline", 2), lambda: open_cube(amplitudes).at_time(8)):
        with pytest.raises(
            SurveyError, match=r"^amplitudes\.sgy holds other numbers than the facies 0 to 8: here from -"
        ):
            found()
    zarr = pytest.importorskip("zarr")
    zarr.open_array(tmp_path / "array.zarr", mode="w", shape=(3,), dtype="i4")
    group = zarr.open_group(tmp_path / "bare.zarr", mode="w")
    for name in ("facies", "inline", "crossline", "twt_ms"):
        group.create_array(name, data=np.zeros(3))
    (tmp_path / "damaged.zarr").mkdir()
    (tmp_path / "damaged.zarr" / "zarr.json").write_text("{")
    for name in ("array", "bare", "damaged"):
        with pytest.raises(SurveyError, match=rf"{name}\.zarr is no cube of facies as `infer cube` writes it: "):
            open_cube(tmp_path / f"{name}.zarr")


@pytest.mark.parametrize("twt", [float("nan"), 99_999])
def test_a_lone_time_stands_for_no_other(cube, model, tmp_path, twt):
    out = tmp_path / "lone.sgy"
    CubeRun(CubeRequest(cube, out, str(model), region=Region(twt=(48, 48)), clip=60.0, device="cpu")).work()
    assert [open_cube(out).at_time(asked)[1] for asked in (48, 46.5, 49)] == [48] * 3
    with pytest.raises(OptionError, match=r"^lone\.sgy has no sample at "):
        open_cube(out).at_time(twt)


@pytest.mark.parametrize("name", ["line.npz", "line.npy", "line.sgy", "line.confidence.sgy"])
def test_a_view_is_nothing_but_a_picture(cube, model, tmp_path, name):
    out = tmp_path / "facies.sgy"
    CubeRun(CubeRequest(cube, out, model, clip=CLIP, device="cpu")).work()
    words = ["view", str(out), "--inline", "104", "--survey", str(cube), "--out", str(tmp_path / name)]
    assert str(CliRunner().invoke(app, words).exception) == f"{name}: what `infer view` writes is a picture, a .png."
    assert not (tmp_path / name).exists()


def test_titles_say_what_is_known(cube, model, tmp_path, monkeypatch):
    picture = pytest.importorskip("infer.picture")
    titles = []

    def noted(figure, title):
        titles.append((title, len(figure.axes)))

    monkeypatch.setattr(picture, "set_title", noted)
    out = tmp_path / "facies.sgy"
    CubeRun(CubeRequest(cube, out, model, clip=CLIP, device="cpu")).work()
    clip = f"clip {open_survey(cube).amplitude_clip:.4g}"
    expected = {
        (): (": facies", 1),
        ("--survey", str(cube)): (f": facies, {clip}", 2),
        ("--model", model): (": facies by tiny", 1),
        ("--survey", str(cube), "--model", model): (f": facies by tiny, {clip}", 2),
    }
    for more, (title, panels) in expected.items():
        for asked, of in {("--inline", "104"): "inline 104", ("--twt", "32"): "32 ms"}.items():
            words = ["view", str(out), *asked, *more, "--out", str(tmp_path / "picture.png")]
            assert CliRunner().invoke(app, words).exit_code == 0
            assert titles.pop() == (f"facies.sgy, {of}{title}", panels)


def test_line_numbers_elsewhere_are_found_in_the_finished_cube_too(build_segy, model, tmp_path):
    pytest.importorskip("matplotlib")
    positions = grid(range(100, 104), range(300, 313))
    cube = build_segy(positions, reflections(len(positions), 20), line_bytes=(9, 21))
    bytes_ = ["--inline-byte", "9", "--crossline-byte", "21"]
    out, picture = tmp_path / "facies.sgy", tmp_path / "picture.png"
    words = ["cube", str(cube), str(out), "--model", model, "--device", "cpu", *bytes_]
    assert CliRunner().invoke(app, words).exit_code == 0
    words = ["view", str(out), "--inline", "102", "--survey", str(cube), "--out", str(picture), *bytes_]
    assert CliRunner().invoke(app, words).stdout == f"Wrote {picture}\n"


def test_where_a_time_has_no_data_nothing_is_drawn(cube, model, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("infer.time_slice.write_time_slice", lambda result, *_, **__: drawn.append(result))
    out = tmp_path / "facies.sgy"
    CubeRun(CubeRequest(cube, out, model, clip=CLIP, device="cpu")).work()
    for more in ([], ["--survey", str(cube)]):
        assert CliRunner().invoke(app, ["view", str(out), "--twt", "32", *more]).exit_code == 0
        result = drawn.pop()
        np.testing.assert_array_equal(np.isnan(result.amplitude), result.facies == -1)
        assert (result.facies == -1).sum() == 2


def test_dead_traces_alone_are_no_time_slice_and_a_cube_of_nothing(build_segy, model, tmp_path):
    positions = grid(range(100, 104), range(300, 304))
    cube = build_segy(positions, np.zeros((len(positions), 20)))
    words = [str(cube), "--model", model, "--device", "cpu"]
    picture = tmp_path / "picture.png"
    done = CliRunner().invoke(app, ["slice", *words, "--twt", "32", "--out", str(picture)])
    assert str(done.exception) == "cube.sgy has no live trace to classify."
    assert not picture.exists()
    done = CliRunner().invoke(app, ["cube", *words, str(tmp_path / "facies.sgy")])
    assert done.exit_code == 0
    assert done.stderr == "Warning: There is no live trace in it, so all of it is without data.\n"
