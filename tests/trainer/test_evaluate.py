"""Scores against hand work; `trainer evaluate` on a tiny run; and the disturbances of benchmarks/robustness.py."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("keras", exc_type=ImportError, reason="training needs Keras")
pytest.importorskip("tensorflow", exc_type=ImportError, reason="training needs TensorFlow")
pytest.importorskip("matplotlib", exc_type=ImportError, reason="scores are drawn with Matplotlib")

import keras

from infer.facies import FACIES_NAMES
from trainer.evaluate import evaluate, score, written
from trainer.fit import fit
from trainer.networks import find_network
from trainer.request import FitRequest, prepare
from trainer.runs import Run, RunError, RunSettings
from trainer.saved import load_network
from trainer.scores import CalibrationBin, calibrate
from trainer.scores_picture import draw_calibration
from trainer.scores_tables import calibration_sentence, facies_table, parts_table, report
from trainer.trained import find_trained

from ..conftest import ROOT, grid, segy_bytes
from .conftest import textured

ON_THIS_LINE = (
    "Nearly every test pick touches a training pick: these scores say how well the network knows this line, not how "
    "well it would know another."
)


@pytest.fixture(scope="module")
def run(tiny_survey: Path, tiny_picks: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    request = FitRequest("waldeland", tiny_survey, (tiny_picks,), epochs=2, seed=5, split="random")
    return fit(prepare(request), Run(tmp_path_factory.mktemp("runs")))


@pytest.fixture
def robustness(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    spec = importlib.util.spec_from_file_location("robustness", ROOT / "benchmarks/robustness.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_scores_against_hand_work() -> None:
    probabilities = np.array([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [1, 0, 0], [0.75, 0, 0.25]], np.float32)
    scores = score(probabilities, np.array([0, 2, 0, 2], np.int8))
    assert (scores.patches, scores.accuracy, scores.confidence) == (4, 0.5, (0.5 + 0.5 + 1 + 0.75) / 4)
    assert scores.loss == pytest.approx((np.log(2) + np.log(4) + 0 + np.log(4)) / 4, abs=1e-6)
    assert scores.mae == pytest.approx((1.0 + 1.5 + 0.0 + 1.5) / 12)
    assert scores.facies == ["else", "grizzly", "high_amp_continuous"]
    assert scores.confusion == [[2, 0, 0], [0, 0, 0], [1, 1, 0]]
    assert scores.recall == {"else": 1.0, "high_amp_continuous": 0.0}
    assert scores.precision == {"else": pytest.approx(2 / 3), "grizzly": 0.0}
    assert scores.f1 == {"else": pytest.approx(2 * 2 / 3 / (5 / 3)), "grizzly": 0.0, "high_amp_continuous": 0.0}
    # Bins of 1/15: 0.5 twice, once right; 1 right; 0.75 wrong.
    assert scores.ece == pytest.approx((2 * 0 + 1 * 0 + 1 * 0.75) / 4)
    assert json.loads(json.dumps(asdict(scores)))["calibration"][0]["patches"] == 2


def test_the_bins_of_calibration_hold_their_upper_edge() -> None:
    confidence = np.array([0.0, 1 / 15, 0.07, 1.0])
    assert calibrate(confidence, np.array([True, False, True, True])) == [
        CalibrationBin(0.0, 1 / 15, 2, pytest.approx(1 / 30), 0.5),
        CalibrationBin(1 / 15, 2 / 15, 1, pytest.approx(0.07), 1.0),
        CalibrationBin(pytest.approx(14 / 15), 1.0, 1, 1.0, 1.0),
    ]


def test_the_calibration_error_against_another_way() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet([0.3] * 9, 2000).astype(np.float32)
    facies = rng.integers(0, 9, 2000).astype(np.int8)
    confidence, right = probabilities.max(axis=1).astype(float), probabilities.argmax(axis=1) == facies
    gaps = 0.0
    for k in range(15):
        inside = [i for i in range(2000) if k / 15 < confidence[i] <= (k + 1) / 15]
        gaps += abs(sum(right[i] - confidence[i] for i in inside))
    assert score(probabilities, facies).ece == pytest.approx(gaps / 2000)


def test_evaluating_leaves_numbers_and_pictures(run: Run, tmp_path: Path) -> None:
    copy = Run(Path(shutil.copytree(run.folder, tmp_path / "copy")))
    after_fit = json.loads(copy.scores.read_text())
    copy.scores.unlink()
    [trained] = find_trained([copy.folder])
    scores = evaluate(trained)
    assert {part: s.confusion for part, s in scores.items()} == {k: s["confusion"] for k, s in after_fit.items()}
    assert [path.name for path in written(trained)] == ["scores.json", "confusion.png", "calibration.png"]
    assert all(path.stat().st_size > 0 for path in written(trained))
    assert json.loads(copy.scores.read_text()) == json.loads(json.dumps({k: asdict(s) for k, s in scores.items()}))
    assert {part: s.patches for part, s in scores.items()} == {"train": 405, "validation": 45, "test": 150}
    for s in scores.values():
        confusion = np.array(s.confusion)
        found = {FACIES_NAMES[k]: confusion[k, k] / confusion[k].sum() for k in np.flatnonzero(confusion.sum(axis=1))}
        assert s.recall == pytest.approx(found)
        assert confusion.trace() / confusion.sum() == pytest.approx(s.accuracy)
        assert sum(b.patches for b in s.calibration) == s.patches == confusion.sum()


def test_the_tables_against_hand_work() -> None:
    probabilities = np.zeros((20, 9), np.float32)
    facies = np.repeat(np.array([7, 8], np.int8), 10)
    probabilities[np.arange(20), [*[7] * 10, *[8] * 7, *[7] * 2, 0]] = 1
    scores = score(probabilities, facies)
    assert facies_table(scores) == (
        "facies                  picks   recall  precision       F1   most often taken for\n"
        "else                        0        -       0.0%     0.0%   -\n"
        "salt                       10   100.0%      83.3%    90.9%   -\n"
        "steep_dips                 10    70.0%     100.0%    82.4%   salt (20.0%)"
    )
    assert parts_table({"test": scores}).splitlines()[1] == (
        "test                20     85.00%    2.4177    0.0333    15.0%"
    )
    assert calibration_sentence(scores) == (
        "On the test picks the chosen facies has a probability of 100.0% on average and is right in 85.0%: the network "
        "is too sure of itself (expected calibration error 15.0%)."
    )


def test_no_colour_of_the_calibration_hides_under_another() -> None:
    rng = np.random.default_rng(0)
    scores = score(rng.dirichlet([0.3] * 9, 500).astype(np.float32), rng.integers(0, 9, 500).astype(np.int8))
    reliability, *_ = draw_calibration({"train": scores, "test": scores}, "a title").axes
    assert {bar.get_alpha() for bar in reliability.patches} == {None}
    said = reliability.collections[-1].get_segments()  # the marks over the bars: at the mean probability of each bin
    assert [mark[0, 1] for mark in said] == pytest.approx([100 * b.confidence for b in scores.calibration])
    assert [bar.get_height() for bar in reliability.patches] == pytest.approx(
        [100 * b.accuracy for b in scores.calibration]
    )


def test_runs_are_set_side_by_side(run: Run, tmp_path: Path) -> None:
    other = Path(shutil.copytree(run.folder, tmp_path / "other"))
    (other / "card.json").unlink()
    trained = find_trained([run.folder, other, run.folder])
    assert [t.run.finished for t in trained] == [True, False]
    scores = score(np.eye(9, dtype=np.float32)[:3], np.array([0, 1, 3], np.int8))
    parts = dict.fromkeys(("train", "validation", "test"), scores)
    rows = report(trained, [parts, parts]).splitlines()
    assert rows[1].split() == [run.folder.name, "other"]
    assert [row.split() for row in rows[2:8]] == [
        ["network", "waldeland", "waldeland"],
        ["recipe", "default", "default"],
        ["split", "random", "random"],
        ["train", "accuracy", "66.67%", "66.67%"],
        ["validation", "accuracy", "66.67%", "66.67%"],
        ["test", "accuracy", "66.67%", "66.67%"],
    ]
    assert [row.split()[2] for row in rows if row.startswith("recall")] == ["else", "grizzly", "high_amplitude"]
    assert rows[-2:] == [ON_THIS_LINE, "other: The training is unfinished: this is its best network so far."]


def test_a_folder_without_a_network_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        find_trained([tmp_path / "no"])
    assert str(caught.value) == (
        f"There is no run folder {tmp_path / 'no'}: give one that `trainer fit` made, such as those under runs/."
    )
    request = FitRequest("waldeland", Path("a.sgy"), (Path("a.ixz"),))
    Run(tmp_path).write_settings(RunSettings(request, "inline", 20, ""))
    with pytest.raises(RunError) as caught:
        find_trained([tmp_path])
    assert str(caught.value) == (
        f"{tmp_path} holds no network: model.keras is written after the first epoch of `trainer fit`. "
        "Give a run folder that has one."
    )


def test_a_damaged_network_is_said(run: Run, tmp_path: Path) -> None:
    copy = Run(Path(shutil.copytree(run.folder, tmp_path / "copy")))
    copy.model.write_bytes(b"no network")
    with pytest.raises(RunError) as caught:
        load_network(copy)
    assert str(caught.value) == f"{copy.model} cannot be read: fit the network again."


@pytest.mark.parametrize(
    ("inlines", "crosslines"),
    [((19, 20, 21), range(900, 960)), ((19, 20, 21), range(358, 418)), ((1, 2, 3), range(60))],
)
def test_another_survey_is_said(run: Run, tmp_path: Path, inlines: tuple[int, ...], crosslines: range) -> None:
    other = tmp_path / "other.sgy"
    other.write_bytes(segy_bytes(grid(inlines, crosslines), np.ones((180, 50))))
    with pytest.raises(RunError) as caught:
        find_trained([run.folder], other)
    assert str(caught.value) == (
        f"{other} is not the survey that {run.folder} was trained on: the picks do not lie on it. Say where that "
        "survey is with `--survey CUBE.sgy`."
    )


def test_a_survey_on_which_picks_are_split_otherwise_is_said(run: Run, tmp_path: Path) -> None:
    """With one more dead trace ten picks less are placed, and at random others are tested on."""
    amplitude = np.concatenate([textured(60, 50)] * 3)
    amplitude[60 + 10] = 0
    other = tmp_path / "other.sgy"
    other.write_bytes(segy_bytes(grid([19, 20, 21], range(300, 360)), amplitude))
    settings = run.read_settings()
    assert len(settings.split_sha256) == 64
    with pytest.raises(RunError) as caught:
        find_trained([run.folder], other)
    assert str(caught.value) == (
        f"On {other} the picks are not placed and split as they were when {run.folder} was trained on them: it may be "
        "tested on picks that it was trained on. Say where the survey of then is with `--survey CUBE.sgy`, or fit the "
        "network again."
    )
    copy = Run(Path(shutil.copytree(run.folder, tmp_path / "copy")))
    asked = json.loads((copy.folder / "run.json").read_text())
    del asked["split_sha256"]
    (copy.folder / "run.json").write_text(json.dumps(asked))
    with pytest.raises(RunError) as caught:
        find_trained([copy.folder], other)
    assert str(caught.value) == (
        f"Inline 20 of {other} has other amplitudes than {copy.folder} was trained on. Say where the survey of then is "
        "with `--survey CUBE.sgy`, or fit the network again."
    )
    del asked["section_sha256"]
    (copy.folder / "run.json").write_text(json.dumps(asked))
    assert len(find_trained([copy.folder], other)) == 1


def test_a_survey_with_its_line_numbers_elsewhere_is_told_where(run: Run, tmp_path: Path) -> None:
    moved = tmp_path / "moved.sgy"
    amplitude = np.concatenate([textured(60, 50)] * 3)
    says = {109: ("h", [4] * 180)}
    moved.write_bytes(
        segy_bytes(grid([19, 20, 21], range(300, 360)), amplitude, code=3, traces_say=says, line_bytes=(9, 21))
    )
    [trained] = find_trained([run.folder], moved, header_bytes=(9, 21))
    assert (trained.request.survey, trained.request.inline_byte, trained.request.crossline_byte) == (moved, 9, 21)
    [as_fitted] = find_trained([run.folder])
    np.testing.assert_array_equal(trained.prepared.section.amplitude, as_fitted.prepared.section.amplitude)


def test_the_command_prints_tables_and_keeps_the_scores_of_all_picks(
    run: Run, tmp_path: Path, tiny_survey: Path
) -> None:
    moved = tmp_path / "moved.sgy"
    moved.write_bytes(tiny_survey.read_bytes())
    before = {path: path.read_bytes() for path in run.folder.iterdir()}
    code = "from trainer.cli import main; main()"
    asked = [sys.executable, "-c", code, "evaluate", str(run.folder), "--survey", str(moved), "--patches", "50"]
    done = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[2] == f"Scoring {run.folder.name}: waldeland, default recipe, random split of inline 20."
    assert lines[4].split() == ["picks", "accuracy", "loss", "MAE", "ECE"]
    assert [re.split(" +", line)[:2] for line in lines[5:8]] == [["train", "50"], ["validation", "45"], ["test", "50"]]
    assert lines[9] == "On the test picks:"
    assert ON_THIS_LINE in lines
    assert lines[-1] == "Wrote nothing: with --patches, the scores in a run folder stay as they are."
    assert {path: path.read_bytes() for path in run.folder.iterdir()} == before
    done = subprocess.run(asked[:-2], cwd=tmp_path, capture_output=True, text=True, check=False)
    files = ", ".join(str(run.folder / name) for name in ("scores.json", "confusion.png", "calibration.png"))
    assert done.stdout.splitlines()[-1] == f"Wrote {files}"


def test_what_cannot_be_evaluated_is_said_without_tensorflow(tmp_path: Path) -> None:
    code = (
        "import sys, atexit; from trainer.cli import main; "
        "atexit.register(lambda: print([m for m in ('tensorflow', 'keras', 'onnx') if m in sys.modules])); main()"
    )
    asked = [sys.executable, "-c", code, "evaluate", "gone"]
    done = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "[]\n")
    assert done.stderr == (
        "There is no run folder gone: give one that `trainer fit` made, such as those under runs/.\n"
    )


@pytest.mark.parametrize("snr_db", [20, 0])
def test_noise_is_as_loud_as_asked_and_sounds_like_the_section(robustness: ModuleType, snr_db: float) -> None:
    twt = np.arange(400) * 0.004
    amplitude = (100 * np.sin(2 * np.pi * 30 * twt) * np.ones((60, 1))).astype(np.float32)
    live = np.arange(60) >= 10
    amplitude[~live] = 0
    noise = robustness.noise(amplitude, live, snr_db, np.random.default_rng(1))
    ratio = np.sqrt(np.mean(amplitude[live].astype(float) ** 2) / np.mean(noise[live].astype(float) ** 2))
    assert 20 * np.log10(ratio) == pytest.approx(snr_db, abs=1e-3)
    assert not noise[~live].any()
    assert noise.dtype == np.float32
    hertz = np.fft.rfftfreq(400, 0.004)
    assert hertz[np.abs(np.fft.rfft(noise[live], axis=1)).mean(axis=0).argmax()] == pytest.approx(30)
    assert not np.allclose(noise[20], noise[40], atol=1)


def test_fgsm_moves_every_sample_a_little_and_raises_the_loss(robustness: ModuleType) -> None:
    model, patches, facies = _random_network()
    changed = robustness.fgsm(model, patches, facies, 0.01)
    assert np.abs(changed - patches).max() <= 0.01 + 1e-6
    assert np.abs(changed).max() <= 1
    assert changed.dtype == np.float32
    assert score(model.predict(changed, verbose=0), facies).loss > score(model.predict(patches, verbose=0), facies).loss


def test_one_sample_changes_exactly_one_sample(robustness: ModuleType) -> None:
    _, patches, _ = _random_network()
    rng = np.random.default_rng(0)
    parents = robustness.random_candidates(patches, 8, rng)
    for candidates in (parents, robustness.children(parents, 16, rng)):
        changed = robustness.with_one_sample(patches, candidates[:, 0])
        np.testing.assert_array_equal((changed != patches).sum(axis=(1, 2)), 1)
        assert np.abs(changed).max() <= 1


def test_the_search_for_one_sample_finds_a_network_that_listens_to_one(robustness: ModuleType) -> None:
    patches, facies = np.full((3, 16, 16), 0.5, np.float32), np.array([0, 0, 0], np.int8)

    class OneSample:
        """Facies 1 wherever a sample falls below -0.9; the lower the lowest, the more probable."""

        def predict(self, patches: np.ndarray, batch: int, verbose: int) -> np.ndarray:
            lowest = patches.min(axis=(1, 2))
            return np.stack([0.95 + lowest / 2, 0.05 - lowest / 2], axis=1)

    class Deaf:
        """Facies 0, whatever it is shown."""

        def predict(self, patches: np.ndarray, batch: int, verbose: int) -> np.ndarray:
            return np.tile(np.array([1.0, 0.0]), (len(patches), 1))

    rng = np.random.default_rng(0)
    assert robustness.one_sample_attack(OneSample(), patches, facies, 400, rng).all()
    assert not robustness.one_sample_attack(Deaf(), patches, facies, 80, rng).any()


def _random_network() -> tuple[keras.Model, np.ndarray, np.ndarray]:
    """A network of random weights, patches `[patch, 16, 16]` and facies `[patch]`."""
    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(1)
    model = find_network("waldeland").built(16)
    model.jit_compile = False
    return model, rng.uniform(-1, 1, (12, 16, 16)).astype(np.float32), rng.integers(0, 9, 12).astype(np.int8)
