"""Written files, read back by numpy, segyio and matplotlib, and compared byte by byte with where they came from."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import segyio

from infer import Section, classify, load_model, open_survey, write
from infer.errors import DependencyError, OutputError
from infer.scan import scan
from infer.writers import check_outputs

from ..conftest import grid, reflections
from .conftest import FACIES

N_SAMPLES = 12


@pytest.fixture
def cube(build_segy):
    """Five inlines by four crosslines, sorted by crossline; one trace missing, one dead, one there twice."""
    positions = grid(range(10, 15), range(3, 7), by="crossline")
    positions.remove((12, 5))
    positions.append((11, 5))
    samples = reflections(len(positions), N_SAMPLES)
    samples[positions.index((13, 5))] = 0
    return build_segy(positions, samples, code=3)


@pytest.fixture
def result(cube, tiny_model):
    survey = open_survey(cube)
    return classify(survey.read_crossline(5), load_model(tiny_model(8), "cpu"), survey.amplitude_clip)


def traces_of(path, sample_bytes):
    """Each trace's header and samples, as bytes, by plain arithmetic."""
    content = path.read_bytes()[3600:]
    size = 240 + N_SAMPLES * sample_bytes
    return [(content[k : k + 240], content[k + 240 : k + size]) for k in range(0, len(content), size)]


def on_crossline_5(cube):
    return [header for header, _ in traces_of(cube, 2) if int.from_bytes(header[192:196], "big") == 5]


def test_npz(result, tmp_path):
    write(result, tmp_path / "line.npz")
    with np.load(tmp_path / "line.npz") as saved:
        assert set(saved) == {"facies", "probabilities", "inline", "crossline", "twt_ms", "facies_names"}
        np.testing.assert_array_equal(saved["facies"], result.facies)
        np.testing.assert_array_equal(saved["probabilities"], result.probabilities)
        np.testing.assert_array_equal(saved["inline"], [10, 11, 12, 13, 14])
        np.testing.assert_array_equal(saved["crossline"], [5] * 5)
        np.testing.assert_array_equal(saved["twt_ms"], 4.0 * np.arange(N_SAMPLES))
        np.testing.assert_array_equal(saved["facies_names"], FACIES)
        assert (saved["facies"].dtype, saved["probabilities"].dtype) == (np.int8, np.float32)


def test_npy(result, tmp_path):
    write(result, tmp_path / "line.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "line.npy"), result.facies)


def test_sgy_keeps_every_header_byte_and_holds_facies_as_8_bit_integers(cube, result, tmp_path):
    path = tmp_path / "line.sgy"
    write(result, path, open_survey(cube))
    source, written = cube.read_bytes()[:3600], path.read_bytes()[:3600]
    assert written[:3224] + written[3226:] == source[:3224] + source[3226:]
    assert written[3224:3226] == b"\x00\x08"
    assert [header for header, _ in traces_of(path, 1)] == on_crossline_5(cube)
    with segyio.open(path, ignore_geometry=True) as file:
        inlines = file.attributes(189)[:]
        np.testing.assert_array_equal(inlines, [10, 11, 13, 14, 11])
        np.testing.assert_array_equal(file.trace.raw[:], result.facies[inlines - 10])
        assert file.trace.raw[:].dtype == np.int8
        assert (file.trace[2] == -1).all()


def test_confidence_sgy_holds_floats(cube, result, tmp_path):
    path = tmp_path / "line.confidence.sgy"
    write(result, path, open_survey(cube))
    assert [header for header, _ in traces_of(path, 4)] == on_crossline_5(cube)
    with segyio.open(path, ignore_geometry=True) as file:
        assert file.bin[3225] == 5
        inlines = file.attributes(189)[:]
        np.testing.assert_array_equal(file.trace.raw[:], np.nan_to_num(result.confidence)[inlines - 10])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("code", [1, 2, 5, 6, 8])
def test_sgy_of_any_format_and_byte_order(build_segy, tiny_model, tmp_path, code, order):
    cube = build_segy(grid(range(1, 4), range(3, 7)), reflections(12, N_SAMPLES), code=code, order=order)
    survey = open_survey(cube)
    line = classify(survey.read_inline(2), load_model(tiny_model(8), "cpu"), survey.amplitude_clip)
    for name in ("line.sgy", "line.confidence.sgy"):
        write(line, tmp_path / name, survey)
    endian = "little" if order == "<" else "big"
    with segyio.open(tmp_path / "line.sgy", ignore_geometry=True, endian=endian) as file:
        np.testing.assert_array_equal(file.trace.raw[:], line.facies)
    with segyio.open(tmp_path / "line.confidence.sgy", ignore_geometry=True, endian=endian) as file:
        np.testing.assert_array_equal(file.trace.raw[:], line.confidence)


def test_headers_beyond_240_bytes_are_kept_too(build_segy, tiny_model, tmp_path):
    cube = build_segy(
        grid(range(1, 4), range(3, 7)),
        reflections(12, N_SAMPLES),
        says={3501: ("H", 0x0200), 3507: ("i", 1), 3513: ("Q", 12)},
        extended=[b"more text".ljust(3200)],
        extension=bytes(range(240)),
    )
    survey = open_survey(cube)
    write(classify(survey.read_inline(2), load_model(tiny_model(8), "cpu"), 50), tmp_path / "line.sgy", survey)
    again = open_survey(tmp_path / "line.sgy").line_bytes("inline", 2)
    np.testing.assert_array_equal(again.headers, survey.line_bytes("inline", 2).headers)
    assert len(again.preamble) == 3600 + 3200


@pytest.mark.parametrize(("says", "changed"), [((2, 0), True), ((0, 2), True), ((1, 0), False), ((32, 32), False)])
def test_what_came_with_rev_2_is_put_into_rev_2_alone(build_segy, tiny_model, tmp_path, says, changed):
    revision = {3501: ("B", says[0]), 3502: ("B", says[1]), 3513: ("Q", 12 if changed else 77)}
    cube = build_segy(grid(range(1, 4), range(3, 7)), reflections(12, N_SAMPLES), says=revision)
    survey = open_survey(cube)
    write(classify(survey.read_inline(2), load_model(tiny_model(8), "cpu"), 50), tmp_path / "line.sgy", survey)
    count = int.from_bytes((tmp_path / "line.sgy").read_bytes()[3512:3520], "big")
    assert count == (4 if changed else 77)


def test_png_is_a_picture_with_the_facies_in_colour(result, tmp_path, cube):
    write(result, tmp_path / "line.png", open_survey(cube))
    picture = matplotlib.image.imread(tmp_path / "line.png")
    assert picture.shape[0] > 400
    colourful = np.ptp(picture[..., :3], axis=-1) > 0.1
    assert 0.02 < colourful.mean() < 0.9


def test_nothing_half_written_is_left(result, tmp_path, monkeypatch):
    path = tmp_path / "line.npy"
    path.write_bytes(b"an earlier result")

    def full_disk(where, _):
        where.write(b"half")
        raise OSError(28, "No space left on device")

    before = set(tmp_path.iterdir())
    monkeypatch.setattr(np, "save", full_disk)
    with pytest.raises(OutputError) as error:
        write(result, path)
    assert str(error.value) == f"{path} could not be written: No space left on device."
    assert path.read_bytes() == b"an earlier result"
    assert set(tmp_path.iterdir()) == before


def test_suffixes_in_capitals(cube, result, tmp_path):
    for plain, loud in (("a.sgy", "b.SGY"), ("a.confidence.sgy", "b.Confidence.SEGY"), ("a.npy", "b.NPY")):
        write(result, tmp_path / plain, open_survey(cube))
        write(result, tmp_path / loud, open_survey(cube))
        assert (tmp_path / plain).read_bytes() == (tmp_path / loud).read_bytes()


def test_a_link_stays_a_link(result, tmp_path):
    (tmp_path / "real.npy").touch()
    (tmp_path / "link.npy").symlink_to("real.npy")
    write(result, tmp_path / "link.npy")
    assert (tmp_path / "link.npy").is_symlink()
    np.testing.assert_array_equal(np.load(tmp_path / "real.npy"), result.facies)


def test_several_threads_may_write_one_file(result, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: write(result, tmp_path / "line.npy"), range(100)))
    np.testing.assert_array_equal(np.load(tmp_path / "line.npy"), result.facies)


def test_names_that_matplotlib_would_read_as_formulas(result, build_segy, tmp_path):
    cube = build_segy(grid(range(10, 15), range(3, 7)), reflections(20, N_SAMPLES), name="$5_or_$6^{.sgy")
    write(replace(result, facies_names=("$a", "b$", "_c")), tmp_path / "line.png", open_survey(cube))
    assert (tmp_path / "line.png").is_file()


def test_sgy_without_its_survey(result, tmp_path):
    with pytest.raises(OutputError) as error:
        write(result, tmp_path / "line.sgy")
    assert str(error.value) == "line.sgy cannot be written without the survey whose trace headers it takes over."
    assert not (tmp_path / "line.sgy").exists()


@pytest.mark.parametrize("shape", [(4, N_SAMPLES), (5, N_SAMPLES - 1), (6, N_SAMPLES)])
def test_sgy_of_a_result_that_is_not_of_the_surveys_line(cube, tiny_model, tmp_path, shape):
    section = Section.from_amplitude(np.random.default_rng(0).normal(size=shape), "crossline", 5)
    result = classify(section, load_model(tiny_model(8), "cpu"), 1.0)
    with pytest.raises(OutputError) as error:
        write(result, tmp_path / "line.sgy", open_survey(cube))
    assert str(error.value) == (
        f"Crossline 5 of {cube.name} has 5 places of 12 samples, and this result {shape[0]} traces of {shape[1]}: give "
        "the survey that the section was read from."
    )
    assert not (tmp_path / "line.sgy").exists()


def test_sgy_of_traces_with_other_numbers(cube, tiny_model, tmp_path):
    survey = open_survey(cube)
    numbers = survey.inlines.numbers()
    line = survey.read_crossline(5)
    for crossing in (None, numbers + 1):
        section = Section.from_amplitude(line.amplitude, "crossline", 5, crossing=crossing)
        with pytest.raises(
            OutputError, match=r"^This result's traces have other numbers along the crossline than cube"
        ):
            write(classify(section, load_model(tiny_model(8), "cpu"), 1.0), tmp_path / "line.sgy", survey)
    section = Section.from_amplitude(line.amplitude, "crossline", 5, crossing=numbers)
    write(classify(section, load_model(tiny_model(8), "cpu"), 1.0), tmp_path / "line.sgy", survey)


def test_a_survey_is_not_replaced_from_another_folder_either(cube, tiny_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path.parent)
    survey = open_survey(cube.relative_to(tmp_path.parent))
    result = classify(survey.read_crossline(5), load_model(tiny_model(8), "cpu"), 1.0)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="is the survey itself"):
        write(result, cube.name, survey)
    assert scan(survey).n_traces == survey.n_traces


def test_a_section_without_traces_is_no_picture(tiny_model, tmp_path):
    result = classify(Section.from_amplitude(np.zeros((0, 9))), load_model(tiny_model(8), "cpu"), 1.0)
    with pytest.raises(OutputError) as error:
        write(result, tmp_path / "line.png")
    assert str(error.value) == "A section without traces cannot be drawn."


def test_outputs_that_cannot_be(tmp_path):
    def sentence(*paths):
        with pytest.raises(OutputError) as error:
            check_outputs(paths, tmp_path / "cube.sgy")
        return str(error.value)

    (tmp_path / "cube.sgy").touch()
    (tmp_path / "link.sgy").symlink_to("cube.sgy")
    assert (
        sentence(tmp_path / "link.sgy")
        == f"{tmp_path / 'link.sgy'} is the survey itself; choose another name for the facies."
    )
    nowhere, cube, twice = tmp_path / "none" / "x.npz", tmp_path / "cube.sgy", tmp_path / "x.npz"
    assert sentence(Path("x.tif")) == (
        "x.tif: the suffix says what to write, and there are .png, .npz, .npy, .sgy, .segy and .confidence.sgy."
    )
    assert sentence(nowhere) == (
        f"{nowhere} cannot be written: {nowhere.parent} is not a folder that can be written to."
    )
    assert sentence(cube) == f"{cube} is the survey itself; choose another name for the facies."
    assert sentence(twice, twice) == f"{twice} was asked for twice."
    (tmp_path / "folder.npz").mkdir()
    assert sentence(tmp_path / "folder.npz") == f"{tmp_path / 'folder.npz'} cannot be written: it is a folder."


def test_a_picture_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(DependencyError) as error:
        check_outputs([tmp_path / "line.png"])
    assert str(error.value) == (
        'A picture needs matplotlib: `pip install "facies-edge[plot]"`, or choose an --out in .npz or .sgy.'
    )


@pytest.mark.parametrize(("first", "traces"), [(2500, 1), (499, 3), (1_000_001, 40)])
def test_a_picture_names_only_lines_that_there_are(first, traces):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from infer.picture import section_and_facies

    crossing = np.arange(first, first + traces, dtype=np.int32)
    section = Section.from_amplitude(np.ones((traces, 9)), "inline", 1, crossing=crossing)
    figure = section_and_facies(section, 1.0, np.zeros((traces, 9), np.int8), ("#aa0000",))
    FigureCanvasAgg(figure).draw()
    left, right = figure.axes[0].get_xlim()
    named = [int(t.get_text()) for t in figure.axes[0].get_xticklabels() if left <= t.get_position()[0] <= right]
    assert named
    assert set(named) <= set(crossing.tolist())
