"""Point files, folders of them and their checksum; and what their amplitudes say of where they belong."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from infer.errors import LineNotFoundError
from infer.facies import FACIES_NAMES
from infer.survey import Survey, open_survey
from trainer.pick_files import PicksError, facies_in_name, read_picks
from trainer.pick_sources import pick_files, sha256
from trainer.picks import PickCounts, read_line_picks

FORMS = "inline crossline twt_ms [amplitude]"


@pytest.fixture
def survey(tiny_survey: Path) -> Survey:
    """Inlines 19 to 21, crosslines 300 to 359, 50 samples of 4 ms from 4 ms on."""
    return open_survey(tiny_survey)


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def points(survey: Survey, path: Path, traces: int = 0, samples: int = 0, scale: float = 1) -> Path:
    """Picks on inline 20 that lie so many traces and samples beside the places that their amplitudes are from."""
    amplitude = survey.read_inline(20).amplitude
    rows = [
        f"20\t{300 + i + traces}\t{4 + 4 * (j + samples)}\t{scale * amplitude[i, j]:g}"
        for i in range(30, 45)
        for j in range(10, 20)
    ]
    return written(path, "\n".join(rows) + "\n")


@pytest.mark.parametrize("name", FACIES_NAMES)
def test_the_facies_is_in_the_name(name: str) -> None:
    for file in (f"{name}.pts", f"{name}_inline339.pts", f"{name}339.PTS", f"{name.upper()}-by hand.pts"):
        assert FACIES_NAMES[facies_in_name(Path(file))] == name


@pytest.mark.parametrize(
    "file", ["inline339_salt.pts", "salty.pts", "high_amp.pts", "high_amplitude_continuous.pts", "salt_else.pts"]
)
def test_a_name_that_says_no_facies_for_sure(file: str) -> None:
    with pytest.raises(PicksError) as caught:
        read_picks(Path(file))
    assert str(caught.value) == (
        f"{file} does not say which facies its picks are: the name of a .pts file begins with that of its facies and "
        "has no words of another's. The facies are else, grizzly, high_amp_continuous, high_amplitude, low_amp_dips, "
        "low_amplitude, low_coherency, salt, steep_dips."
    )


def test_points_with_and_without_amplitude(tmp_path: Path) -> None:
    picks = read_picks(written(tmp_path / "salt_by_hand.pts", "20\t300\t4\t-12.5\r\n20\t301\t8\t7\r\n"))
    assert picks.facies.tolist() == [7, 7]
    assert picks.crossline.tolist() == [300, 301]
    assert picks.twt_ms.tolist() == [4, 8]
    assert picks.amplitude is not None
    assert picks.amplitude.tolist() == [-12.5, 7]
    picks = read_picks(written(tmp_path / "low_amp_dips.pts", "20 300 4\n"))
    assert (picks.facies.tolist(), picks.amplitude) == ([4], None)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", f"salt.pts holds no picks. Each row of a picks file is `{FORMS}`."),
        ("20 300\n", f"Row 1 of salt.pts is not a pick: expected `{FORMS}`, found `20 300`."),
        ("20 300 4 5 6\n", f"Row 1 of salt.pts is not a pick: expected `{FORMS}`, found `20 300 4 5 6`."),
        ("20 300 4 5\n20 301 4\n", f"Row 2 of salt.pts is not a pick: expected `{FORMS}`, found `20 301 4`."),
        ("20 300 4 nan\n", f"Row 1 of salt.pts is not a pick: expected `{FORMS}`, found `20 300 4 nan`."),
        ("20.5 300 4\n", f"Row 1 of salt.pts is not a pick: expected `{FORMS}`, found `20.5 300 4`."),
        (
            "20,300,4\n",
            f"Row 1 of salt.pts is not a pick: expected `{FORMS}`, found `20,300,4`. Columns are parted by white "
            "space, and decimals by a point.",
        ),
        (
            "IL XL TWT\n20 300 4\n",
            f"Row 1 of salt.pts is not a pick: expected `{FORMS}`, found `IL XL TWT`. A row that names the columns "
            "has to begin with a #.",
        ),
        (
            "IL;XL;TWT\n20;300;4\n",
            f"Row 1 of salt.pts is not a pick: expected `{FORMS}`, found `IL;XL;TWT`. Columns are parted by white "
            "space, and decimals by a point. A row that names the columns has to begin with a #.",
        ),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(PicksError) as caught:
        read_picks(written(tmp_path / "salt.pts", text))
    assert str(caught.value) == sentence


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
def test_another_encoding_is_said(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "salt.pts").write_text("20 300 4\n", encoding=encoding)
    with pytest.raises(PicksError) as caught:
        read_picks(tmp_path / "salt.pts")
    assert str(caught.value) == "salt.pts is no text in UTF-8, but perhaps in UTF-16: save it in UTF-8."


def test_files_of_one_line_are_placed_together(survey: Survey, tmp_path: Path) -> None:
    written(tmp_path / "salt.pts", "20 300 4\n20 301 8\n20 302 8\n20 299 8\n")
    written(tmp_path / "else.pts", "20 301 8\n20 303 200\n20 303 10\n")
    written(tmp_path / "all.ixz", "20 300 4 7\n20 305 12 8\n")
    written(tmp_path / "notes.txt", "not picks")
    written(tmp_path / "._salt.pts", "what macOS leaves")
    section, placed = read_line_picks([tmp_path], survey)
    assert (section.kind, section.number) == ("inline", 20)
    assert list(zip(placed.trace.tolist(), placed.sample.tolist(), placed.facies.tolist(), strict=True)) == [
        (0, 0, 7), (2, 1, 7), (3, 49, 0), (5, 2, 8),
    ]  # fmt: skip
    assert placed.counts == PickCounts(
        total=9, distinct=4, duplicates=1, contradictory=2, outside=1, between_samples=1, on_dead_traces=0
    )
    assert placed.table().splitlines()[-3:] == [
        "   7  salt                         2    50.0%",
        "   8  steep_dips                   1    25.0%",
        "      all                          4",
    ]
    assert np.argwhere(placed.on(section) == 7).tolist() == [[0, 0], [2, 1]]


def test_a_single_trace_is_on_the_line_of_the_others(survey: Survey, tmp_path: Path) -> None:
    written(tmp_path / "else.pts", "20 300 4\n")
    written(tmp_path / "salt.pts", "19 300 4\n21 300 8\n")
    section, placed = read_line_picks([tmp_path / "else.pts", tmp_path / "salt.pts"], survey)
    assert (section.kind, section.number, placed.trace.tolist()) == ("crossline", 300, [0, 1, 2])
    section, _ = read_line_picks([tmp_path / "else.pts"], survey)
    assert (section.kind, section.number) == ("inline", 20)


def test_files_of_several_lines_are_refused(survey: Survey, tmp_path: Path) -> None:
    files = [written(tmp_path / f"else_{n}.pts", f"{n} 300 4\n{n} 301 4\n") for n in range(15, 21)]
    with pytest.raises(PicksError) as caught:
        read_line_picks(files[:2], survey)
    assert str(caught.value) == (
        "The picks are not all on one line: else_15.pts on inline 15, else_16.pts on inline 16. Give the files of one "
        "line."
    )
    with pytest.raises(PicksError) as caught:
        read_line_picks([tmp_path], survey)
    assert str(caught.value) == (
        "The picks are not all on one line: else_15.pts on inline 15, else_16.pts on inline 16, else_17.pts on inline "
        "17, else_18.pts on inline 18 and 2 more files. Give the files of one line."
    )
    with pytest.raises(PicksError) as caught:
        read_line_picks([files[0], written(tmp_path / "salt.pts", "1 1 4\n2 2 4\n")], survey)
    assert str(caught.value) == (
        "salt.pts has picks on 2 inlines and 2 crosslines: all of them must be on one inline or on one crossline."
    )
    with pytest.raises(LineNotFoundError):
        read_line_picks(files[:1], survey)


def test_sources_that_are_none(survey: Survey, tmp_path: Path) -> None:
    missing, table = tmp_path / "none.pts", written(tmp_path / "inline_20.legend", "#ff0000 salt\n")
    salt, photo = written(tmp_path / "salt.pts", "20 300 4\n"), written(tmp_path / "inline_20.jpg", "")
    (empty := tmp_path / "empty").mkdir()
    asked: list[tuple[list[Path], Path | None, str]] = [
        ([], None, "No picks were given: name a file with picks, several, or a folder of them."),
        ([salt, missing], None, f"There is no picks file at {missing}."),
        (
            [empty],
            None,
            f"The folder {empty} holds no picks: no .ixz file, no .pts file, and no painted picture that is named "
            "after its line, as inline_339.png is.",
        ),
        (
            [photo],
            None,
            "inline_20.jpg is no .png: save the painted picture as one, which keeps colours as they were painted.",
        ),
        ([table], None, "inline_20.legend is a legend: give the picture, and the legend is found beside it."),
        (
            [salt],
            table,
            "The legend inline_20.legend is for painted pictures (.png), and there is none among the picks.",
        ),
    ]
    for sources, legend, sentence in asked:
        with pytest.raises(PicksError) as caught:
            read_line_picks(sources, survey, legend)
        assert str(caught.value) == sentence


def test_each_file_counts_once(tmp_path: Path) -> None:
    salt, other = written(tmp_path / "salt.pts", "20 300 4\n"), written(tmp_path / "else.pts", "20 301 4\n")
    assert pick_files([salt, tmp_path, tmp_path / "." / "else.pts"]) == (salt, other)


def test_the_checksum(tmp_path: Path) -> None:
    salt, other = written(tmp_path / "salt.pts", "20 300 4\n"), written(tmp_path / "else.pts", "20 301 4\n")
    one, two = (hashlib.sha256(file.read_bytes()).hexdigest() for file in (salt, other))
    assert sha256([salt]) == one
    both = hashlib.sha256(f"{two}  else.pts\n{one}  salt.pts\n".encode()).hexdigest()
    assert sha256([salt, other]) == sha256([other, salt]) == sha256([tmp_path]) == both
    picture, table = written(tmp_path / "inline_20.png", "pixels"), written(tmp_path / "mine", "colours")
    pixels, colours = (hashlib.sha256(text).hexdigest() for text in (b"pixels", b"colours"))
    assert sha256([picture]) == pixels
    with_legend = hashlib.sha256(f"{pixels}  inline_20.png\n{colours}  mine\n".encode()).hexdigest()
    assert sha256([picture], table) == with_legend


def test_amplitudes_that_fit(survey: Survey, tmp_path: Path) -> None:
    _, placed = read_line_picks([points(survey, tmp_path / "salt.pts")], survey)
    assert placed.amplitudes is not None
    assert (placed.amplitudes.picks, placed.amplitudes.best_shift, placed.warnings) == (150, (0, 0), ())
    assert placed.report() == (
        "150 picks: 150 distinct places on inline 20, 0 duplicates, 0 contradictory, 0 outside, 0 on dead traces; "
        "their amplitudes and the section's correlate by 1.000"
    )
    assert placed.summary()["amplitude_correlation"] == 1


@pytest.mark.parametrize(
    ("traces", "samples", "where"),
    [(1, 0, "crossline -1"), (0, -1, "twt +4 ms"), (-1, 1, "crossline +1 and twt -4 ms")],
)
def test_picks_beside_their_place_are_said(
    survey: Survey, tmp_path: Path, traces: int, samples: int, where: str
) -> None:
    _, placed = read_line_picks([points(survey, tmp_path / "salt.pts", traces, samples)], survey)
    assert placed.amplitudes is not None
    here = f"{placed.amplitudes.correlation:.2f}"
    assert placed.warnings == (
        f"The amplitudes that the picks came with fit the section better at {where} (correlation 1.00) than where the "
        f"picks are ({here}): the picks, or the survey's line numbers or times, are off by that much.",
    )


def test_picks_of_other_data_are_said(survey: Survey, tmp_path: Path) -> None:
    _, placed = read_line_picks([points(survey, tmp_path / "salt.pts", scale=-1)], survey)
    assert placed.warnings == (
        "The amplitudes that the picks came with fit the section upside down (correlation -1.00): the survey has the "
        "reverse polarity of the one that was picked.",
    )
    noise = np.random.default_rng(0).normal(size=(30, 40))
    rows = [f"20 {310 + i} {20 + 4 * j} {noise[i, j]:g}" for i in range(30) for j in range(40)]
    _, placed = read_line_picks([written(tmp_path / "else.pts", "\n".join(rows))], survey)
    assert placed.amplitudes is not None
    assert placed.warnings == (
        "The amplitudes that the picks came with do not fit the section (correlation "
        f"{placed.amplitudes.correlation:.2f}): the picks are of another survey or of another processing, or they are "
        "misplaced by more than one trace and sample.",
    )


def test_too_few_amplitudes_say_nothing(survey: Survey, tmp_path: Path) -> None:
    _, placed = read_line_picks([written(tmp_path / "salt.pts", "20 310 40 5\n20 311 40 6\n")], survey)
    assert (placed.amplitudes, placed.warnings) == (None, ())


@pytest.mark.shared
def test_the_real_point_file_is_the_salt_of_the_real_picks(shared: Path) -> None:
    survey = open_survey(shared / "f3/f3_lines.sgy")
    section, salt = read_line_picks([shared / "f3/salt_inline339.pts"], survey)
    _, everything = read_line_picks([shared / "f3/labels_inline339.ixz"], survey)
    assert (section.kind, section.number) == ("inline", 339)
    assert salt.per_facies() == {name: 7499 if name == "salt" else 0 for name in FACIES_NAMES}
    chosen = everything.facies == 7
    np.testing.assert_array_equal(salt.trace, everything.trace[chosen])
    np.testing.assert_array_equal(salt.sample, everything.sample[chosen])
    fit = salt.amplitudes
    assert fit is not None
    assert (fit.picks, fit.best_shift, salt.warnings) == (7377, (0, 0), ())
    assert fit.correlation == pytest.approx(0.998, abs=5e-4)


@pytest.mark.shared
def test_the_real_point_file_a_trace_and_a_sample_off(shared: Path, tmp_path: Path) -> None:
    rows = np.loadtxt(shared / "f3/salt_inline339.pts") + np.array([0, 1, 4, 0])
    np.savetxt(tmp_path / "salt.pts", rows, "%d")
    _, placed = read_line_picks([tmp_path / "salt.pts"], open_survey(shared / "f3/f3_lines.sgy"))
    assert placed.counts.outside == 122
    assert placed.warnings == (
        "The amplitudes that the picks came with fit the section better at crossline -1 and twt -4 ms (correlation "
        "1.00) than where the picks are (0.49): the picks, or the survey's line numbers or times, are off by that "
        "much.",
    )
