"""Reading and placing picks: whole sentences, whole counts, and the proof of where F3's picks belong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from infer.errors import InferError
from infer.facies import FACIES_COLOURS, FACIES_NAMES
from infer.section import Section
from infer.survey import open_survey
from trainer.picks import PickCounts, PicksError, place_picks, read_picks


def section(kind: str = "inline", live: tuple[bool, ...] = (True,) * 5) -> Section:
    """Five traces, numbered 300, 302, … 308, and six samples of 4 ms from 4 ms on."""
    numbers, same = np.arange(300, 310, 2, dtype=np.int32), np.full(5, 339, np.int32)
    inline, crossline = (same, numbers) if kind == "inline" else (numbers, same)
    amplitude = np.ones((5, 6), np.float32)
    return Section(kind, 339, amplitude, inline, crossline, 4.0 + 4 * np.arange(6.0), np.array(live))  # type: ignore[arg-type]


def written(folder: Path, text: str) -> Path:
    path = folder / "labels.ixz"
    path.write_text(text)
    return path


def test_nine_facies_and_nine_colours() -> None:
    assert FACIES_NAMES == (
        "else", "grizzly", "high_amp_continuous", "high_amplitude", "low_amp_dips", "low_amplitude", "low_coherency",
        "salt", "steep_dips",
    )  # fmt: skip
    assert len(set(FACIES_COLOURS)) == 9
    assert all(len(c) == 7 and c[0] == "#" and int(c[1:], 16) >= 0 and c == c.lower() for c in FACIES_COLOURS)


def test_rows_are_read_whatever_the_white_space(tmp_path: Path) -> None:
    picks = read_picks(written(tmp_path, "# a comment\n339\t300  4 0\r\n\n 339 302 8.0 8 # the second\n"))
    assert picks.inline.tolist() == [339, 339]
    assert picks.crossline.tolist() == [300, 302]
    assert picks.twt_ms.tolist() == [4.0, 8.0]
    assert picks.facies.tolist() == [0, 8]
    assert (picks.source, picks.line()) == ("labels.ixz", ("inline", 339))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "labels.ixz holds no picks. Each row of a picks file is `inline crossline twt_ms facies`."),
        (
            "339 300 4 0\n\n339 301 4\n",
            "Row 3 of labels.ixz is not a pick: expected `inline crossline twt_ms facies`, found `339 301 4`.",
        ),
        (
            "339 300 4 0\n339 301 4 salt\n",
            "Row 2 of labels.ixz is not a pick: expected `inline crossline twt_ms facies`, found `339 301 4 salt`.",
        ),
        (
            "339 300 nan 0\n",
            "Row 1 of labels.ixz is not a pick: expected `inline crossline twt_ms facies`, found `339 300 nan 0`.",
        ),
        (
            "339 300.5 4 0\n",
            "Row 1 of labels.ixz is not a pick: expected `inline crossline twt_ms facies`, found `339 300.5 4 0`.",
        ),
        (
            "1 2 3 4 5\n",
            "Row 1 of labels.ixz is not a pick: expected `inline crossline twt_ms facies`, found `1 2 3 4 5`.",
        ),
        (
            "339 300 4 0\n339 301 4 9\n",
            "Row 2 of labels.ixz has facies 9: facies are whole numbers from 0 (else) to 8 (steep_dips).",
        ),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(PicksError) as caught:
        read_picks(written(tmp_path, text))
    assert str(caught.value) == sentence
    assert isinstance(caught.value, InferError)
    assert isinstance(caught.value, ValueError)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(PicksError) as caught:
        read_picks(tmp_path / "none.ixz")
    assert str(caught.value) == f"There is no picks file at {tmp_path / 'none.ixz'}."


def test_picks_on_one_crossline_are_on_it(tmp_path: Path) -> None:
    picks = read_picks(written(tmp_path, "300 339 4 0\n304 339 8 1\n"))
    assert picks.line() == ("crossline", 339)
    placed = place_picks(picks, section("crossline"))
    assert (placed.trace.tolist(), placed.sample.tolist()) == ([0, 2], [0, 1])


def test_picks_all_over_the_survey_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PicksError) as caught:
        read_picks(written(tmp_path, "300 339 4 0\n304 340 8 1\n")).line()
    assert str(caught.value) == (
        "labels.ixz has picks on 2 inlines and 2 crosslines: all of them must be on one inline or on one crossline."
    )


def test_a_line_of_one_sample_cannot_be_trained_on(tmp_path: Path) -> None:
    whole = section()
    thin = Section("inline", 339, whole.amplitude[:, :1], whole.inline, whole.crossline, whole.twt_ms[:1], whole.live)
    with pytest.raises(PicksError) as caught:
        place_picks(read_picks(written(tmp_path, "339 300 4 0\n")), thin)
    assert str(caught.value) == (
        "Inline 339 has one sample a trace, and picks are placed by the time between two: nothing can be trained on it."
    )


ROWS = """
339 306 24 3
339 300 4 1
339 300 4 1
339 302 8 1
339 302 8 2
339 302 8 2
339 303 8 2
339 310 8 2
339 300 0 2
339 300 28 2
339 304 9 2
339 304 10 2
339 304 12.4 7
339 308 4 2
"""


def test_every_row_is_accounted_for(tmp_path: Path) -> None:
    placed = place_picks(read_picks(written(tmp_path, ROWS)), section(live=(True, True, True, True, False)))
    places = list(zip(placed.trace.tolist(), placed.sample.tolist(), placed.facies.tolist(), strict=True))
    assert places == [(0, 0, 1), (2, 2, 7), (3, 5, 3)]
    assert placed.counts == PickCounts(
        total=14, distinct=3, duplicates=1, contradictory=3, outside=4, between_samples=2, on_dead_traces=1
    )
    assert placed.report() == (
        "14 picks: 3 distinct places on inline 339, 1 duplicates, 3 contradictory, 4 outside, 1 on dead traces, "
        "2 between samples"
    )


def test_no_pick_left_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PicksError) as caught:
        place_picks(read_picks(written(tmp_path, "339 900 4 0\n")), section())
    assert str(caught.value) == (
        "None of the picks in labels.ixz can be used. 1 picks: 0 distinct places on inline 339, 0 duplicates, "
        "0 contradictory, 1 outside, 0 on dead traces."
    )


@pytest.mark.shared
def test_the_real_picks(shared: Path) -> None:
    picks = read_picks(shared / "f3/labels_inline339.ixz")
    placed = place_picks(picks, open_survey(shared / "f3/f3_lines.sgy").read_line(*picks.line()))
    assert placed.report() == (
        "158,812 picks: 141,111 distinct places on inline 339, 17,701 duplicates, 0 contradictory, 0 outside, "
        "0 on dead traces"
    )
    assert list(placed.per_facies().values()) == [20070, 18257, 13366, 13283, 17991, 19010, 21433, 7499, 10202]
    assert set(zip(placed.trace.tolist(), placed.sample.tolist(), strict=True)) == set(
        zip((picks.crossline - 300).tolist(), (picks.twt_ms / 4 - 1).tolist(), strict=True)
    )


@pytest.mark.shared
def test_the_amplitudes_in_the_point_file_say_where_picks_belong(shared: Path, tmp_path: Path) -> None:
    rows = np.loadtxt(shared / "f3/salt_inline339.pts")
    text = "\n".join(f"{i:.0f} {x:.0f} {twt:.0f} 7" for i, x, twt, _ in rows)
    line = open_survey(shared / "f3/f3_lines.sgy").read_inline(339)
    placed = place_picks(read_picks(written(tmp_path, text)), line)
    amplitude_at = {(int(x), twt): amplitude for _, x, twt, amplitude in rows}
    inner = placed.sample < line.shape[1] - 1  # so that each has neighbours on all sides
    traces, samples = placed.trace[inner], placed.sample[inner]
    picked = [amplitude_at[int(line.crossline[i]), line.twt_ms[j]] for i, j in zip(traces, samples, strict=True)]

    def agreement(trace_shift: int, sample_shift: int) -> float:
        section_says = line.amplitude[traces + trace_shift, samples + sample_shift]
        return float(np.corrcoef(picked, section_says)[0, 1])

    assert agreement(0, 0) > 0.96
    shifts = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]
    assert max(agreement(*shift) for shift in shifts) < 0.83
