"""Painted pictures of a line: pixel by pixel the picks that were painted, or a sentence that says why not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib", exc_type=ImportError, reason="pictures are read with Matplotlib")

from matplotlib.image import imread, imsave

from infer.errors import DependencyError
from infer.facies import FACIES_COLOURS, FACIES_NAMES
from infer.section import Section
from infer.survey import Survey, open_survey
from trainer.painting import is_painting, read_legend, read_painting
from trainer.pick_files import PicksError
from trainer.picks import PlacedPicks, read_line_picks

from ..conftest import grid, segy_bytes
from .conftest import textured

N_TRACES, N_SAMPLES = 60, 50
NOTHING = (0, 0, 0, 0)


@pytest.fixture
def survey(tiny_survey: Path) -> Survey:
    """Inlines 19 to 21, crosslines 300 to 359, 50 samples of 4 ms from 4 ms on."""
    return open_survey(tiny_survey)


def rgba(colour: str) -> tuple[int, int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:], 16), 255


def painted(path: Path, facies: np.ndarray, colours: dict[int, tuple[int, ...]]) -> Path:
    """A .png of facies `[trace, sample]`: one pixel after another, time downwards."""
    n_traces, n_samples = facies.shape
    pixels = np.zeros((n_samples, n_traces, 4), np.uint8)
    for row in range(n_samples):
        for column in range(n_traces):
            pixels[row, column] = colours[int(facies[column, row])]
    imsave(path, pixels)
    return path


def labels() -> np.ndarray:
    """Facies `[trace, sample]` all over the line, half of it without."""
    rng = np.random.default_rng(2)
    facies = rng.integers(0, len(FACIES_NAMES), (N_TRACES, N_SAMPLES))
    return np.where(rng.random(facies.shape) < 0.5, facies, -1)


OWN = {-1: NOTHING, **{code: rgba(colour) for code, colour in enumerate(FACIES_COLOURS)}}


def check_all(placed: PlacedPicks, facies: np.ndarray) -> None:
    """That the picks are exactly those labels."""
    assert list(zip(placed.trace.tolist(), placed.sample.tolist(), placed.facies.tolist(), strict=True)) == [
        (i, j, int(facies[i, j])) for i in range(facies.shape[0]) for j in range(facies.shape[1]) if facies[i, j] >= 0
    ]


def test_a_painted_inline_is_read_as_it_was_painted(survey: Survey, tmp_path: Path) -> None:
    facies = labels()
    section, placed = read_line_picks([painted(tmp_path / "inline_20.png", facies, OWN)], survey)
    assert (section.kind, section.number) == ("inline", 20)
    check_all(placed, facies)
    picks = read_painting(tmp_path / "inline_20.png").picks(section)
    first = np.argwhere(facies >= 0)[0]
    assert (picks.inline[0], picks.crossline[0], picks.twt_ms[0]) == (20, 300 + first[0], 4 + 4 * first[1])


def test_a_painted_crossline(survey: Survey, tmp_path: Path) -> None:
    facies = labels()[:3]
    section, placed = read_line_picks([painted(tmp_path / "Crossline 310 mine.png", facies, OWN)], survey)
    assert (section.kind, section.number) == ("crossline", 310)
    check_all(placed, facies)


def test_a_square_line_is_not_turned(tmp_path: Path) -> None:
    """Where there are as many traces as samples, nothing but the order of axes tells trace and time apart."""
    number, along = np.arange(300, 310, dtype=np.int32), np.full(10, 20, np.int32)
    amplitude = np.ones((10, 10), np.float32)
    section = Section("inline", 20, amplitude, along, number, 4.0 + 4 * np.arange(10), np.ones(10, np.bool_))
    facies = np.full((10, 10), -1)
    facies[7, 3] = 4
    picks = read_painting(painted(tmp_path / "inline_20.png", facies, OWN)).picks(section)
    assert (picks.crossline.tolist(), picks.twt_ms.tolist(), picks.facies.tolist()) == ([307], [16], [4])


@pytest.mark.parametrize("given", [False, True])
def test_colours_of_a_legend(survey: Survey, tmp_path: Path, given: bool) -> None:
    facies = np.where(labels() >= 0, np.where(labels() % 2, 7, 8), -1)
    white, blue, green = (255, 255, 255, 255), (0, 0, 255, 255), (0, 255, 0, 64)  # the last is see-through paint
    picture = painted(tmp_path / "inline_20.png", facies, {-1: white, 7: blue, 8: green})
    legend = tmp_path / ("mine.txt" if given else "inline_20.legend")
    legend.write_text("\ufeff# by hand\n\n#0000FF Salt\n#00ff00\tsteep_dips\r\n#ffffff background\n", encoding="utf-8")
    _, placed = read_line_picks([picture], survey, legend if given else None)
    check_all(placed, facies)


def test_a_grey_picture_and_one_without_alpha(survey: Survey, tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "inline_20.legend").write_text("#808080 salt\n#000000 background\n")
    grey = np.zeros((N_SAMPLES, N_TRACES), np.uint8)
    grey[3, 7] = 128
    for mode in ("L", "RGB", "P"):
        Image.fromarray(grey).convert(mode).save(tmp_path / "inline_20.png")
        _, placed = read_line_picks([tmp_path / "inline_20.png"], survey)
        assert (placed.trace.tolist(), placed.sample.tolist(), placed.facies.tolist()) == ([7], [3], [7])


@pytest.mark.parametrize(
    ("n_traces", "n_samples", "what_to_do"),
    [
        (
            N_SAMPLES,
            N_TRACES,
            "It seems to lie on its side: turn it so that traces go from left to right in ascending number, and time "
            "goes down.",
        ),
        (
            2 * N_TRACES,
            N_SAMPLES,
            "Paint on a picture of 60 x 50 pixels, a pixel a sample, or bring this one to that size without smoothing "
            "(nearest neighbour) after cutting off axes and margins.",
        ),
    ],
)
def test_a_picture_of_another_size(
    survey: Survey, tmp_path: Path, n_traces: int, n_samples: int, what_to_do: str
) -> None:
    picture = painted(tmp_path / "inline_20.png", np.full((n_traces, n_samples), 3), OWN)
    with pytest.raises(PicksError) as caught:
        read_line_picks([picture], survey)
    assert str(caught.value) == (
        f"inline_20.png is {n_traces} pixels wide and {n_samples} high, and inline 20 has 60 traces of 50 samples. "
        f"{what_to_do}"
    )


def test_colours_that_no_legend_has(survey: Survey, tmp_path: Path) -> None:
    facies = np.full((N_TRACES, N_SAMPLES), -1)
    facies[:10], facies[10, :5], facies[20, 0], facies[21, 0] = 0, 1, 2, 3
    colours = {-1: NOTHING, 0: (255, 255, 255, 255), 1: (1, 2, 3, 255), 2: (9, 9, 9, 255), 3: rgba(FACIES_COLOURS[7])}
    picture = painted(tmp_path / "inline_20.png", facies, colours)
    what_to_do = (
        "Say in a legend what each colour is, in rows `#rrggbb facies` or `#rrggbb background`; if they are mixtures "
        "at the edges, paint with a hard brush."
    )
    with pytest.raises(PicksError) as caught:
        read_line_picks([picture], survey)
    assert str(caught.value) == (
        "inline_20.png has 3 colours that are not among the facies' own colours (it has no inline_20.legend): "
        f"#ffffff (500 pixels), #010203 (5 pixels), #090909 (1 pixel). {what_to_do}"
    )
    legend = tmp_path / "inline_20.legend"
    legend.write_text("#090909 salt\n")
    with pytest.raises(PicksError) as caught:
        read_line_picks([picture], survey)
    assert str(caught.value) == (
        "inline_20.png has 3 colours that are not in inline_20.legend: #ffffff (500 pixels), #010203 (5 pixels), "
        f"{FACIES_COLOURS[7]} (1 pixel). {what_to_do}"
    )
    legend.write_text("#ffffff background\n#090909 salt\n#010203 salt\n")
    with pytest.raises(PicksError) as caught:
        read_line_picks([picture], survey)
    assert str(caught.value) == (
        f"inline_20.png has 1 colour that is not in inline_20.legend: {FACIES_COLOURS[7]} (1 pixel). {what_to_do}"
    )


def test_a_photograph_names_its_commonest_colours(survey: Survey, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (N_SAMPLES, N_TRACES, 3)).astype(np.uint8)
    pixels[0, :3] = 17
    imsave(tmp_path / "inline_20.png", pixels)
    with pytest.raises(PicksError) as caught:
        read_line_picks([tmp_path / "inline_20.png"], survey)
    n = len(np.unique(pixels.reshape(-1, 3), axis=0))
    assert str(caught.value).startswith(
        f"inline_20.png has {n:,} colours that are not among the facies' own colours (it has no inline_20.legend); "
        "the commonest: #111111 (3 pixels), "
    )


def test_nothing_painted(survey: Survey, tmp_path: Path) -> None:
    picture = painted(tmp_path / "inline_20.png", np.full((N_TRACES, N_SAMPLES), -1), OWN)
    with pytest.raises(PicksError) as caught:
        read_line_picks([picture], survey)
    assert str(caught.value) == "inline_20.png has nothing painted on it: all of it is transparent or background."


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("# nothing\n", "my.legend holds no colours. Each row of a legend is `#rrggbb facies`."),
        (
            "#ff0000 salt\nred salt\n",
            "Row 2 of my.legend is not a colour and a facies: expected `#rrggbb facies` or `#rrggbb background`, found "
            "`red salt`.",
        ),
        (
            "#ff0000 sallt\n",
            "Row 1 of my.legend has the facies sallt, and there are else, grizzly, high_amp_continuous, "
            "high_amplitude, low_amp_dips, low_amplitude, low_coherency, salt, steep_dips; or "
            "background, for what is not labelled.",
        ),
        (
            "#ff0000 salt\n#FF0000 salt\n#ff0000 else\n",
            "Row 3 of my.legend says of #ff0000 something else than an earlier row.",
        ),
    ],
)
def test_a_bad_legend(tmp_path: Path, text: str, sentence: str) -> None:
    legend = tmp_path / "my.legend"
    legend.write_text(text)
    with pytest.raises(PicksError) as caught:
        read_legend(legend)
    assert str(caught.value) == sentence


def test_files_that_are_no_paintings(tmp_path: Path) -> None:
    (broken := tmp_path / "inline_20.png").write_bytes(b"\x89PNG but no more")
    (cut := tmp_path / "inline_21.png").write_bytes(
        painted(tmp_path / "inline_22.png", labels(), OWN).read_bytes()[:-3000]
    )
    asked = [
        (
            tmp_path / "labels.png",
            None,
            "labels.png does not say which line it is a picture of: its name has to begin with that, as in "
            "inline_339.png or crossline_500.png.",
        ),
        (tmp_path / "inline_23.png", None, f"There is no picture at {tmp_path / 'inline_23.png'}."),
        (broken, tmp_path / "no.legend", f"There is no legend at {tmp_path / 'no.legend'}."),
        *(
            (path, None, f"{path} cannot be read as a .png picture: save the painted picture as one.")
            for path in (broken, cut)
        ),
    ]
    for path, legend, sentence in asked:
        with pytest.raises(PicksError) as caught:
            read_painting(path, legend)
        assert str(caught.value) == sentence


def test_which_pictures_of_a_folder_are_paintings() -> None:
    yes = ("inline_339.png", "crossline500.png", "Inline -3.PNG", "inline_339_by_hand.png")
    no = ("picks_inline_339.png", "cube_crossline_500.png", "inline.png", "inline_339.jpg", "underline_3.png")
    assert [is_painting(Path(name)) for name in (*yes, *no)] == [True] * len(yes) + [False] * len(no)


@pytest.mark.parametrize(
    ("name", "number"),
    [("inline-339", 339), ("inline--339", -339), ("inline_-339", -339), ("Inline -3", -3), ("inline339", 339)],
)
def test_a_hyphen_is_a_minus_where_it_does_not_part_word_and_number(tmp_path: Path, name: str, number: int) -> None:
    assert read_painting(painted(tmp_path / f"{name}.png", labels(), OWN)).number == number


def test_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.image", None)
    with pytest.raises(DependencyError) as caught:
        read_painting(tmp_path / "inline_20.png")
    assert str(caught.value) == (
        'A painted picture is read with matplotlib, which is not installed: pip install "facies-edge[plot]"'
    )


def trainer(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command, and say on the last line of its output whether TensorFlow was started."""
    code = (
        "import sys, atexit; from trainer.cli import main; "
        "atexit.register(lambda: print({'tensorflow', 'keras'} & set(sys.modules) or 'no TensorFlow')); main()"
    )
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_the_command_counts_and_draws(tiny_survey: Path, tmp_path: Path) -> None:
    facies = np.full((N_TRACES, N_SAMPLES), -1)
    facies[10:30, 5:20], facies[50, ::10] = 7, 2
    painted(tmp_path / "inline_20.png", facies, OWN)
    done = trainer("picks", "inline_20.png", "--survey", tiny_survey, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        done.stdout
        == """\
305 picks: 305 distinct places on inline 20, 0 duplicates, 0 contradictory, 0 outside, 0 on dead traces.

code  facies                   picks    share
   0  else                         0     0.0%
   1  grizzly                      0     0.0%
   2  high_amp_continuous          5     1.6%
   3  high_amplitude               0     0.0%
   4  low_amp_dips                 0     0.0%
   5  low_amplitude                0     0.0%
   6  low_coherency                0     0.0%
   7  salt                       300    98.4%
   8  steep_dips                   0     0.0%
      all                        305

Wrote picks_inline_20.png
no TensorFlow
"""
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inline_20.png", "picks_inline_20.png"]
    picture = imread(tmp_path / "picks_inline_20.png")[..., :3]
    left, right = np.split(picture[: int(picture.shape[0] * 0.8)], [picture.shape[1] // 2], axis=1)
    assert (np.ptp(left, axis=-1) < 0.01).all()  # the bare section is grey
    colourful = np.ptp(right, axis=-1) > 0.1
    assert 0.03 < colourful.mean() < 0.15  # a tenth of the section is salt


def test_the_command_warns_and_takes_a_name(tiny_survey: Path, tmp_path: Path) -> None:
    amplitude = open_survey(tiny_survey).read_inline(20).amplitude
    rows = [f"20 {301 + i} {4 + 4 * j} {amplitude[i, j]:g}" for i in range(30, 45) for j in range(10, 20)]
    (tmp_path / "salt.pts").write_text("\n".join(rows))
    done = trainer("picks", "salt.pts", "--survey", tiny_survey, "--out", "drawn.PNG", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr.startswith(
        "Warning: The amplitudes that the picks came with fit the section better at crossline -1 (correlation 1.00) "
    )
    assert (tmp_path / "drawn.PNG").is_file()


@pytest.mark.parametrize("line", ["inline_20", "crossline_310"])
def test_a_canvas_is_painted_on_and_read_back(tiny_survey: Path, survey: Survey, tmp_path: Path, line: str) -> None:
    kind, number = line.split("_")
    done = trainer("canvas", tiny_survey, f"--{kind}", number, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"Wrote {line}.png to paint on, with a hard brush in the colours of {line}.legend\n"
        f"Next: trainer picks {line}.png --survey {tiny_survey}\nno TensorFlow\n"
    )
    canvas = tmp_path / f"{line}.png"
    pixels = np.rint(imread(canvas) * 255).astype(np.uint8)  # [sample, trace, part]
    section = survey.read_line("inline" if kind == "inline" else "crossline", int(number))
    grey = 127.5 * (1 + (section.amplitude / survey.amplitude_clip).clip(-1, 1))
    np.testing.assert_allclose(pixels[..., :3], np.stack([grey.T] * 3, axis=-1), atol=2)
    with pytest.raises(PicksError, match=r" has nothing painted on it: all of it is transparent or background\.$"):
        read_line_picks([canvas], survey)
    facies = labels()[: section.shape[0]]
    pixels[facies.T >= 0] = [OWN[int(f)] for f in facies.T[facies.T >= 0]]
    imsave(canvas, pixels)
    check_all(read_line_picks([canvas], survey)[1], facies)

    for there, gone in ((f"{line}.png", None), (f"{line}.legend", canvas)):
        if gone:
            gone.unlink()
        before = (tmp_path / there).read_bytes()
        done = trainer("canvas", tiny_survey, f"--{kind}", number, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (
            2,
            f"{there} is there already, and stays as it is: move it away, or work in another folder.\n",
        )
        assert (tmp_path / there).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [f"{line}.legend"]


def test_a_survey_with_line_numbers_elsewhere_is_drawn_and_its_picks_are_counted(tmp_path: Path) -> None:
    positions, amplitude = grid([19, 20, 21], range(300, 360)), np.concatenate([textured(60, 50)] * 3)
    (tmp_path / "cube.sgy").write_bytes(segy_bytes(positions, amplitude, line_bytes=(9, 21)))
    given = ("--inline-byte", 9, "--crossline-byte", 21)
    done = trainer("canvas", "cube.sgy", "--inline", 20, *given, cwd=tmp_path)
    assert done.stdout.splitlines()[1] == (
        "Next: trainer picks inline_20.png --survey cube.sgy --inline-byte 9 --crossline-byte 21"
    )
    painted(tmp_path / "inline_20.png", np.full((60, 50), 7), OWN)
    done = trainer("picks", "inline_20.png", "--survey", "cube.sgy", *given, cwd=tmp_path)
    assert done.stdout.startswith("3,000 picks: 3,000 distinct places on inline 20, ")


@pytest.mark.parametrize(
    ("out", "sentence"),
    [
        ("picks.jpg", "picks.jpg: the picture of the picks is a .png file."),
        ("none/a.png", "none/a.png cannot be written: none is not a folder that can be written to."),
        ("inline_20.png", "inline_20.png is one of the files with picks; choose another name for their picture."),
    ],
)
def test_a_picture_that_cannot_be_written(tiny_survey: Path, tmp_path: Path, out: str, sentence: str) -> None:
    painted(tmp_path / "inline_20.png", labels(), OWN)
    before = (tmp_path / "inline_20.png").read_bytes()
    done = trainer("picks", "inline_20.png", "--survey", tiny_survey, "--out", out, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (2, "no TensorFlow\n", f"{sentence}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["inline_20.png"]
    assert (tmp_path / "inline_20.png").read_bytes() == before
