"""The demo survey: it is a survey, its facies are where it says, and the same seed gives the same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import segyio
from numpy.typing import NDArray
from segyio import BinField, TraceField

from infer.demo import CROSSLINES, DEMO_INLINE, INLINES, SAMPLES, DemoFiles, Facies, write_demo
from infer.errors import InferError, OptionError, OutputError
from infer.facies import FACIES_NAMES
from infer.section import NO_DATA

FEW = range(DEMO_INLINE - 1, DEMO_INLINE + 2)
NAMES = ["demo.facies.sgy", "demo.picks.ixz", "demo.sgy"]


def cube(path: Path) -> NDArray[np.generic]:
    """A whole survey, `[inline, crossline, sample]`."""
    with segyio.open(path) as survey:
        return segyio.tools.cube(survey)


def contents(files: DemoFiles) -> list[bytes]:
    return [path.read_bytes() for path in (files.survey, files.facies, files.picks)]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoFiles:
    """The real one, once."""
    return write_demo(tmp_path_factory.mktemp("demo"))


def test_other_picks_and_a_cube_of_facies_stay(tmp_path: Path) -> None:
    (tmp_path / "demo.picks.ixz").write_text("mine")
    with pytest.raises(OutputError, match="and no demo survey beside it"):
        write_demo(tmp_path, inlines=FEW)
    (tmp_path / "demo.picks.ixz").unlink()
    files = write_demo(tmp_path, inlines=FEW)
    content = bytearray(files.survey.read_bytes())
    content[3225] = 8
    files.survey.write_bytes(content)
    with pytest.raises(OutputError, match="is no demo survey"):
        write_demo(tmp_path, inlines=FEW)


@pytest.mark.parametrize("name", ["demo.sgy", "demo.facies.sgy"])
def test_another_survey_of_that_name_stays(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"C 1 MY SURVEY".ljust(3600))
    with pytest.raises(OutputError) as caught:
        write_demo(tmp_path, inlines=FEW)
    assert str(caught.value) == f"{tmp_path / name} is there already, and is no demo survey. Choose another folder."
    assert [path.name for path in tmp_path.iterdir()] == [name]
    (tmp_path / name).unlink()
    before = contents(write_demo(tmp_path, inlines=FEW))
    assert contents(write_demo(tmp_path, seed=1, inlines=FEW)) != before  # its own may go


@pytest.fixture(scope="module")
def true_facies(demo: DemoFiles) -> NDArray[np.generic]:
    return cube(demo.facies)


def test_facies_are_those_of_the_table() -> None:
    assert tuple(facies.name.lower() for facies in Facies) == FACIES_NAMES


@pytest.mark.parametrize("name", ["survey", "facies"])
def test_is_a_survey_of_strict_geometry(demo: DemoFiles, name: str) -> None:
    with segyio.open(getattr(demo, name)) as survey:
        assert survey.ilines.tolist() == list(INLINES)
        assert survey.xlines.tolist() == list(CROSSLINES)
        assert survey.samples.tolist() == [4.0 * n for n in range(1, SAMPLES + 1)]
        assert survey.sorting == segyio.TraceSortingFormat.INLINE_SORTING
        assert survey.bin[BinField.Format] == (3 if name == "survey" else 8)
        assert survey.bin[BinField.Interval] == 4000
        assert survey.bin[BinField.SEGYRevision] == 1
        assert set(survey.attributes(TraceField.DelayRecordingTime)[:]) == {4}
        assert "SEG Y REV1" in bytes(survey.text[0]).decode("ascii")


def test_text_header_has_40_cards_and_says_what_the_file_is(demo: DemoFiles) -> None:
    text = demo.facies.read_bytes()[:3200].decode("cp037")
    cards = [text[start : start + 80] for start in range(0, 3200, 80)]
    assert [card[:3] for card in cards] == [f"C{number:2d}" for number in range(1, 41)]
    assert cards[0].rstrip() == "C 1 FACIES-EDGE DEMO: A SYNTHETIC 3-D SURVEY. ITS TRUE FACIES"
    assert cards[3].rstrip() == "C 4 INLINES 200-439, CROSSLINES 400-631"
    assert any("7 SALT" in card for card in cards)


def test_coordinates_lie_on_a_rotated_grid_of_25_m(demo: DemoFiles) -> None:
    with segyio.open(demo.survey) as survey:
        x, y, scalar = (survey.attributes(field)[:] for field in (TraceField.CDP_X, TraceField.CDP_Y, 71))
    assert set(scalar) == {-10}
    place = ((x + 1j * y) / 10).reshape(len(INLINES), len(CROSSLINES))
    assert np.allclose(np.abs(np.diff(place, axis=0)), 25, atol=0.15)
    assert np.allclose(np.abs(np.diff(place, axis=1)), 25, atol=0.15)
    across = (place[-1, 0] - place[0, 0]) / (place[0, -1] - place[0, 0])
    assert abs(across.real) < 1e-3  # at right angles
    assert across.imag > 0  # inlines count to the left of crosslines


def test_dead_traces_are_silent_and_without_facies(demo: DemoFiles, true_facies: NDArray[np.generic]) -> None:
    dead = ~cube(demo.survey).any(axis=2)
    assert dead[-1, 0]
    assert dead[-10:, 100].all()  # the corner reaches crossline 500, as F3's does
    assert not dead[-1, -50]
    assert 0.03 < dead.mean() < 0.1
    assert np.array_equal(dead, (true_facies == NO_DATA).all(axis=2))
    assert np.array_equal(dead, (true_facies == NO_DATA).any(axis=2))
    with segyio.open(demo.survey) as survey:
        code = survey.attributes(TraceField.TraceIdentificationCode)[:].reshape(dead.shape)
    assert np.array_equal(code, np.where(dead, 2, 1))


def test_amplitudes_use_their_16_bits_and_clip_nowhere(demo: DemoFiles, true_facies: NDArray[np.generic]) -> None:
    amplitude = cube(demo.survey).astype(np.float64)[true_facies != NO_DATA]
    assert np.abs(amplitude).max() < 32767
    assert 500 < amplitude.std() < 3000
    assert abs(amplitude.mean()) < 20


def test_all_facies_are_on_both_lines(true_facies: NDArray[np.generic]) -> None:
    for section in (true_facies[DEMO_INLINE - INLINES[0]], true_facies[:, 500 - CROSSLINES[0]]):
        count = [np.count_nonzero(section == facies) for facies in Facies]
        assert min(count) > 1500


def test_picks_are_true_and_many(demo: DemoFiles, true_facies: NDArray[np.generic]) -> None:
    inline, crossline, twt_ms, facies = np.loadtxt(demo.picks, dtype=int).T
    assert set(inline) == {DEMO_INLINE}
    section = true_facies[DEMO_INLINE - INLINES[0]]
    assert np.array_equal(section[crossline - CROSSLINES[0], twt_ms // 4 - 1], facies)
    assert 30_000 < facies.size < 40_000
    assert np.bincount(facies, minlength=9).min() > 1000
    assert np.unique(np.stack([crossline, twt_ms]), axis=1).shape[1] == facies.size


def test_picks_keep_away_from_boundaries(demo: DemoFiles, true_facies: NDArray[np.generic]) -> None:
    section = true_facies[DEMO_INLINE - INLINES[0]]
    _, crossline, twt_ms, facies = np.loadtxt(demo.picks, dtype=int).T
    for traces, samples in ((4, 0), (-4, 0), (0, 3), (0, -3)):
        trace = np.clip(crossline - CROSSLINES[0] + traces, 0, len(CROSSLINES) - 1)
        sample = np.clip(twt_ms // 4 - 1 + samples, 0, SAMPLES - 1)
        assert np.array_equal(section[trace, sample], facies)


def test_some_inlines_are_those_of_the_whole(demo: DemoFiles, tmp_path: Path) -> None:
    few = write_demo(tmp_path, inlines=FEW)
    first = FEW[0] - INLINES[0]
    assert np.array_equal(cube(few.survey), cube(demo.survey)[first : first + len(FEW)])
    assert few.picks.read_bytes() == demo.picks.read_bytes()


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    once, again = (write_demo(tmp_path / name, 7, inlines=FEW) for name in ("once", "again"))
    assert contents(once) == contents(again)


def test_another_seed_is_another_survey_with_the_same_facies(tmp_path: Path) -> None:
    one, other = (write_demo(tmp_path / str(seed), seed, inlines=FEW) for seed in (1, 2))
    assert all(a != b for a, b in zip(contents(one), contents(other), strict=True))
    assert np.unique(cube(other.facies)).tolist() == [NO_DATA, *Facies]


def test_overwrites_and_leaves_nothing_else(tmp_path: Path) -> None:
    write_demo(tmp_path, inlines=FEW)
    (tmp_path / "demo.picks.ixz").write_text("old")
    write_demo(tmp_path, inlines=FEW)
    assert (tmp_path / "demo.picks.ixz").read_text() != "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == NAMES


def test_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("infer.demo._picks", full)
    with pytest.raises(OutputError) as caught:
        write_demo(tmp_path, inlines=FEW)
    assert str(caught.value) == f"Cannot write the demo survey to {tmp_path}: No space left on device."
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"^Cannot write the demo survey to .*file: File exists\.$"):
        write_demo(tmp_path / "file", inlines=FEW)


def test_negative_seed(tmp_path: Path) -> None:
    with pytest.raises(OptionError) as caught:
        write_demo(tmp_path, -1)
    assert str(caught.value) == "A seed is a whole number from 0 up, not -1."
    assert isinstance(caught.value, InferError)
