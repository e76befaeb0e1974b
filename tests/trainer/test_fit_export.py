"""A tiny training from end to end: the run folder, the exported model and its proof, the sentences."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("keras", exc_type=ImportError, reason="training needs Keras")
pytest.importorskip("onnx", exc_type=ImportError, reason="exporting needs onnx")
pytest.importorskip("tensorflow", exc_type=ImportError, reason="training needs TensorFlow")
pytest.importorskip("tf2onnx", exc_type=ImportError, reason="exporting needs tf2onnx")
pytest.importorskip("onnxruntime", exc_type=ImportError, reason="an export is proved with onnxruntime")
pytest.importorskip("matplotlib", exc_type=ImportError, reason="training draws its curves with Matplotlib")

import keras
import onnx
import tensorflow as tf

from infer.card import ModelCard, read_card, write_card
from infer.errors import Cancelled, OptionError, OutputError, SurveyNotFoundError
from trainer import cli
from trainer import export as export_module
from trainer import fit as fit_module
from trainer import request as request_module
from trainer.export import export, training_section
from trainer.fit import Checkpoint, History, KeepBest, epochs_since_better, fit
from trainer.graph import ExportError, fold_normalisation, to_onnx
from trainer.names import NETWORK_NAMES
from trainer.networks import NETWORKS, find_network
from trainer.pick_sources import sha256
from trainer.picks import PicksError
from trainer.recipes import find_recipe
from trainer.request import FitRequest, Prepared, prepare
from trainer.runs import (
    Run,
    RunError,
    RunSettings,
    find_run,
    find_unfinished_run,
    new_run,
    prepare_again,
    write_text,
)
from trainer.shelf import export_command

from ..conftest import grid, segy_bytes
from .conftest import textured


def read_scores(run: Run) -> dict[str, Any]:
    scores: dict[str, Any] = json.loads(run.scores.read_text())
    return scores


def asked(survey: Path, picks: Path, **other: Any) -> FitRequest:
    return FitRequest("waldeland", survey, (picks,), **{"seed": 5, "split": "random"} | other)


@pytest.fixture(scope="module")
def run(tiny_survey: Path, tiny_picks: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "first"
    named = {"name": "tiny", "survey_name": "Tiny", "licence": "CC0"}
    request = asked(tiny_survey, tiny_picks, epochs=2, **named)
    said: list[str] = []
    done = fit(prepare(request, said.append), new_run("waldeland", folder), said.append)
    assert said[:2] == [
        "600 picks: 600 distinct places on inline 20, 0 duplicates, 0 contradictory, 0 outside, 0 on dead traces.",
        "Split random: 405 to train on, 45 to validate on, 150 to test on.",
    ]
    return done


def test_an_unknown_network_is_named() -> None:
    with pytest.raises(OptionError) as caught:
        find_network("alexnet")
    assert str(caught.value) == "There is no network 'alexnet'. There are: waldeland, vgg16, resnet50, vgg16-context."
    assert tuple(NETWORKS) == NETWORK_NAMES


def test_the_run_folder_is_whole(run: Run, tiny_survey: Path) -> None:
    names = sorted(path.name for path in run.folder.iterdir())
    assert names == ["card.json", "curves.png", "history.csv", "model.keras", "run.json", "scores.json"]
    rows = list(csv.DictReader(run.history.open()))
    assert list(rows[0]) == ["epoch", "loss", "accuracy", "validation_loss", "validation_accuracy", "seconds"]
    assert [row["epoch"] for row in rows] == ["1", "2"]
    scores = json.loads(run.scores.read_text())
    assert {part: s["patches"] for part, s in scores.items()} == {"train": 405, "validation": 45, "test": 150}
    assert list(scores["test"]["recall"]) == ["high_amp_continuous", "high_amplitude", "low_amplitude"]
    card = run.read_card()
    assert (card.name, card.network, card.survey, card.licence) == ("tiny", "waldeland", "Tiny", "CC0")
    assert (card.training_lines, card.patch_size, card.patch_centre) == (("inline 20",), 64, 32)
    assert (card.picks["file"], card.picks["distinct"], card.split["method"]) == ("tiny.ixz", 600, "random")
    assert card.scores["test_accuracy"] == pytest.approx(scores["test"]["accuracy"], abs=1e-6)
    assert str(tiny_survey.parent) not in card.to_json()


def test_the_export_keeps_the_contract_and_agrees_with_keras(run: Run, tmp_path: Path) -> None:
    done = export("waldeland", run.folder, tmp_path / "exported", "named")
    assert done.path == tmp_path / "exported/named.onnx"
    assert [path.name for path in done.path.parent.iterdir()] == ["named.onnx"]
    assert (done.proof.line.patches, done.proof.line.max_difference <= 1e-4) == (1200, True)
    model = onnx.load(done.path)
    assert [(v.name, _shape(v)) for v in model.graph.input] == [("patches", ["batch", 64, 64])]
    assert [(v.name, _shape(v)) for v in model.graph.output] == [("probabilities", ["batch", 9])]
    steps = [node.op_type for node in model.graph.node]
    assert set(steps) == {"Reshape", "Conv", "Relu", "MatMul", "Add", "Softmax"}
    assert (steps.count("Conv"), steps.count("MatMul"), steps.count("Add")) == (5, 3, 3)
    card = read_card(done.path)
    assert (card.name, card.weights_sha256) == ("named", run.read_card().weights_sha256)
    assert {"tensorflow", "keras", "tf2onnx", "onnx", "opset"} <= set(card.libraries)
    for path in (run.folder, Path.cwd(), Path(run.read_settings().request.survey).parent):
        assert str(path).encode() not in done.path.read_bytes()


def test_a_failed_proof_leaves_no_file(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(model: keras.Model) -> onnx.ModelProto:
        other = keras.models.clone_model(model)
        return to_onnx(other)

    monkeypatch.setattr(export_module, "to_onnx", wrong)
    with pytest.raises(ExportError, match=r"^The exported model is not the one that was trained: on 1,200 patches its"):
        export("waldeland", run.folder, tmp_path / "exported")
    assert list((tmp_path / "exported").iterdir()) == []


def test_a_survey_that_moved_can_be_pointed_at(run: Run, tmp_path: Path, tiny_survey: Path) -> None:
    gone = tmp_path / "gone.sgy"
    with pytest.raises(SurveyNotFoundError) as caught:
        export("waldeland", run.folder, tmp_path, survey=gone)
    assert str(caught.value) == (
        "The export is proved on patches of the survey that the network was trained on, and there is no file at "
        f"{gone}. Say where it is now by `--survey CUBE.sgy` beside what you gave."
    )
    moved = tmp_path / "moved.sgy"
    moved.write_bytes(tiny_survey.read_bytes())
    assert export("waldeland", run.folder, tmp_path, survey=moved).path == tmp_path / "tiny.onnx"


def test_another_model_is_replaced_only_when_asked(run: Run, tmp_path: Path) -> None:
    path = export("waldeland", run.folder, tmp_path).path
    export("waldeland", run.folder, tmp_path)  # the same weights
    for other in (b"somebody's", None):
        if other:
            path.write_bytes(other)
        else:
            export("waldeland", run.folder, tmp_path, replace_other=True)
            write_card(path, replace(read_card(path), weights_sha256="0" * 64))
        before = path.read_bytes()
        with pytest.raises(OutputError) as caught:
            export("waldeland", run.folder, tmp_path)
        assert str(caught.value) == (
            f"There is another model at {path}, and it stays as it is. Give the new one a name of its own with "
            "`--name OTHER`, or put it in the place of the old one with `--replace`."
        )
        assert path.read_bytes() == before
    assert export("waldeland", run.folder, tmp_path, "other").path == tmp_path / "other.onnx"


def test_the_command_that_fit_advises_meets_no_other_model(tmp_path: Path) -> None:
    def after(fitted_name: str = "", run: str = "runs/a") -> str:
        return export_command("waldeland", Path(run), fitted_name, tmp_path)

    assert after() == "trainer export waldeland --run runs/a"
    assert after("named") == "trainer export waldeland --run runs/a"
    (tmp_path / "waldeland.onnx").touch()
    assert after() == "trainer export waldeland --run runs/a --name mine"
    assert after("named") == "trainer export waldeland --run runs/a"
    for name in ("mine", "named"):
        (tmp_path / f"{name}.onnx").touch()
    assert after() == "trainer export waldeland --run runs/a --name mine-2"
    assert after("named", "my runs/a") == 'trainer export waldeland --run "my runs/a" --name named-2'


def _no_space(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_disk_that_takes_no_more_is_said(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_survey: Path, tiny_picks: Path
) -> None:
    with monkeypatch.context() as patched, pytest.raises(OutputError) as caught:
        patched.setattr(keras.Model, "save", _no_space)
        fit(prepare(asked(tiny_survey, tiny_picks, epochs=1)), new_run("waldeland", tmp_path / "run"))
    assert str(caught.value) == f"{tmp_path / 'run/model.keras'} could not be written: No space left on device."
    with monkeypatch.context() as patched, pytest.raises(OutputError) as caught:
        patched.setattr(onnx, "save", _no_space)
        export("waldeland", run.folder, tmp_path)
    assert str(caught.value) == f"{tmp_path / 'tiny.onnx'} could not be written: No space left on device."
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(OutputError) as caught:
        write_text(tmp_path / "file/history.csv", "")
    assert str(caught.value) == f"{tmp_path / 'file/history.csv'} could not be written: Not a directory."


def test_what_a_damaged_run_says(tmp_path: Path) -> None:
    damaged = Run(_made_run(tmp_path / "run"))
    (damaged.folder / "card.json").write_bytes(b"\xff")
    with pytest.raises(RunError) as caught:
        damaged.read_card()
    assert str(caught.value) == f"{tmp_path / 'run/card.json'} cannot be read: fit the network again."
    (damaged.folder / "card.json").unlink()
    (damaged.folder / "card.json").mkdir()
    with pytest.raises(RunError) as caught:
        damaged.read_card()
    assert str(caught.value) == f"{tmp_path / 'run/card.json'} cannot be read: fit the network again."


@pytest.mark.parametrize("epochs_before", [0, 1])
def test_ctrl_c_says_what_is_kept(
    epochs_before: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_survey: Path, tiny_picks: Path
) -> None:
    def interrupt(self: History, epoch: int, logs: object = None) -> None:
        if epoch == epochs_before:
            raise KeyboardInterrupt

    monkeypatch.setattr(History, "on_epoch_begin", interrupt)
    folder = tmp_path / "run"
    with pytest.raises(Cancelled) as caught:
        fit(prepare(asked(tiny_survey, tiny_picks, epochs=3)), new_run("waldeland", folder))
    if not epochs_before:
        assert str(caught.value) == "Stopped; nothing half-written is left."
        assert not folder.exists()
        return
    assert str(caught.value) == (f"Stopped. To go on after epoch 1: `trainer fit waldeland --run {folder} --resume`.")
    kept = ["curves.png", "epoch-0001.keras", "history.csv", "model.keras", "run.json"]
    assert sorted(path.name for path in folder.iterdir()) == kept


def test_ctrl_c_between_the_network_and_the_checkpoint_of_the_first_epoch_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_survey: Path, tiny_picks: Path
) -> None:
    monkeypatch.setattr(Checkpoint, "on_epoch_end", _interrupt)
    folder = tmp_path / "run"
    with pytest.raises(Cancelled) as caught:
        fit(prepare(asked(tiny_survey, tiny_picks, epochs=2)), new_run("waldeland", folder))
    assert str(caught.value) == "Stopped; nothing half-written is left."
    assert not folder.exists()


def test_a_network_of_an_epoch_that_was_killed_is_not_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_survey: Path, tiny_picks: Path
) -> None:
    prepared = prepare(asked(tiny_survey, tiny_picks, epochs=1))
    whole, killed = (new_run("waldeland", tmp_path / name) for name in ("whole", "killed"))
    fit(prepared, whole)
    with monkeypatch.context() as patched, pytest.raises(Cancelled):
        patched.setattr(Checkpoint, "on_epoch_end", _interrupt)
        patched.setattr(Run, "discard_if_untrained", lambda _: None)
        fit(prepared, killed)
    assert killed.model.is_file()
    fit(prepare_again(killed), killed)
    rows = [np.loadtxt(run.history, delimiter=",", skiprows=1)[:5] for run in (whole, killed)]
    np.testing.assert_allclose(*rows, rtol=1e-3)


def test_weights_that_moved_before_the_first_epoch_ended_are_said(
    tmp_path: Path, tiny_survey: Path, tiny_picks: Path
) -> None:
    weights = tmp_path / "weights.h5"
    weights.touch()
    request = replace(asked(tiny_survey, tiny_picks), network="vgg16", weights=str(weights))
    prepared, run = prepare(request), new_run("vgg16", tmp_path / "run")
    run.write_settings(RunSettings(request, "inline", 20, prepared.picks_sha256))
    run.model.touch()
    weights.unlink()
    with pytest.raises(OptionError) as caught:
        prepare_again(run)
    assert str(caught.value) == f"There are no weights at {weights}: give a Keras .h5 file, `imagenet` or `random`."
    with pytest.raises(OptionError) as caught:
        fit(prepared, run)
    assert str(caught.value) == f"The weights in {weights} cannot be read: No such file or directory."


def _interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_ctrl_c_while_tensorflow_starts_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_survey: Path, tiny_picks: Path
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_start_tensorflow", interrupt)
    monkeypatch.chdir(tmp_path)
    given = ("--survey", str(tiny_survey), "--picks", str(tiny_picks), "--split", "random")
    monkeypatch.setattr(sys, "argv", ["trainer", "fit", "waldeland", *given])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 130
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("raised", "sentence"),
    [
        (KeyboardInterrupt(), "Stopped; nothing half-written is left.\n"),
        (SystemExit(130), "Stopped; nothing half-written is left.\n"),
        (Cancelled("Stopped; so much is kept."), "Stopped; so much is kept.\n"),
    ],
)
def test_ctrl_c_ends_in_a_sentence_and_130(
    raised: BaseException, sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped() -> None:
        raise raised

    monkeypatch.setattr(cli, "app", stopped)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert (caught.value.code, *capsys.readouterr()) == (130, "", sentence)


def test_a_run_of_another_network_and_an_unknown_network_are_said(tmp_path: Path) -> None:
    folder = _made_run(tmp_path / "run", "vgg16")
    with pytest.raises(RunError) as caught:
        find_run("waldeland", folder)
    assert str(caught.value) == (
        f"{folder} is a run of vgg16, not of waldeland. To export it: `trainer export vgg16 --run {folder}`."
    )
    with pytest.raises(OptionError) as unknown:
        find_run("nope", folder)
    assert str(unknown.value) == "There is no network 'nope'. There are: waldeland, vgg16, resnet50, vgg16-context."


def test_what_is_cheap_is_checked_without_tensorflow(tmp_path: Path, tiny_survey: Path, tiny_picks: Path) -> None:
    (tmp_path / "bad.ixz").write_text("20 300 4\n")
    (tmp_path / "file").touch()
    _made_run(tmp_path / "runs/waldeland-1").joinpath("card.json").write_text(
        ModelCard("waldeland", 64, ("a",), ("#000000",), weights_sha256="1").to_json()
    )
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported/waldeland.onnx").touch()
    good = ("fit", "waldeland", "--survey", str(tiny_survey), "--picks", str(tiny_picks))
    cases = {
        ("fit", "nope", *good[2:]): "There is no network 'nope'. There are: waldeland, vgg16, resnet50, vgg16-context.",
        (*good[:5], "bad.ixz"): (
            "Row 1 of bad.ixz is not a pick: expected `inline crossline twt_ms facies`, found `20 300 4`."
        ),
        (*good, "--run", "runs"): "runs is not empty, and a run needs a folder of its own.",
        (*good, "--run", "file"): "file cannot be a run folder: Not a directory.",
        (*good, "--name", "a/b"): "A model's name is the name of its file, without folders, and 'a/b' is not.",
        (*good, "--name", ".."): "A model's name is the name of its file, without folders, and '..' is not.",
        (
            *good,
            "--name",
            "a.Slice",
        ): "A model's name does not end in .slice, as its slice model's does: not 'a.Slice'.",
        ("export", "nope"): "There is no network 'nope'. There are: waldeland, vgg16, resnet50, vgg16-context.",
        (*good, "--name", "a.onnx"): "A model's name is that of its file without .onnx: 'a' in place of 'a.onnx'.",
        ("export", "waldeland", "--name", "a.ONNX"): (
            "A model's name is that of its file without .onnx: 'a' in place of 'a.ONNX'."
        ),
        ("export", "waldeland", "--out", "file"): (
            "file is a file, and a model goes into a folder: give one with `--out DIR`."
        ),
        ("export", "waldeland", "--out", "file/in"): "Cannot write to file/in: Not a directory.",
        (*good, "--patch-size", "7"): "waldeland takes patches of 8 samples and more, not of 7.",
        (*good, "--recipe", "quick"): "There is no recipe 'quick' for waldeland. There are: default, paper.",
        ("export", "waldeland"): (
            "There is another model at exported/waldeland.onnx, and it stays as it is. Give the new one a name of its "
            "own with `--name OTHER`, or put it in the place of the old one with `--replace`."
        ),
    }
    code = (
        "import sys, atexit; from trainer.cli import main; "
        "atexit.register(lambda: print([m for m in ('tensorflow', 'keras', 'onnx') if m in sys.modules])); main()"
    )
    for arguments, sentence in cases.items():
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (2, f"{sentence}\n")
        assert done.stdout.splitlines()[-1:] == ["[]"]


@pytest.mark.parametrize("name", NETWORK_NAMES)
def test_no_network_computes_its_batchs_size(name):
    """Such a computation tf2onnx nearly always folds into a constant; whether it does goes by addresses in memory."""
    size = 64 if name != "vgg16-context" else 244
    inference = fold_normalisation(find_network(name).build(size, 9, "random"))
    graph = tf.function(inference).get_concrete_function(tf.TensorSpec((None, size, size), tf.float32)).graph
    steps = {operation.type for operation in graph.get_operations()}
    assert "Conv2D" in steps
    assert "Shape" not in steps


def test_a_name_with_folders_and_an_occupied_place_are_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        export("waldeland", run.folder, tmp_path, "../elsewhere")
    assert str(caught.value) == ("A model's name is the name of its file, without folders, and '../elsewhere' is not.")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError) as caught:
        export("waldeland", run.folder, tmp_path / "file")
    assert str(caught.value) == (
        f"{tmp_path / 'file'} is a file, and a model goes into a folder: give one with `--out DIR`."
    )


def test_folding_keeps_what_cannot_be_folded() -> None:
    keras.utils.set_random_seed(3)
    patches = keras.Input((8, 8, 2))
    shared_by_two = keras.layers.Conv2D(3, 3, use_bias=False, name="shared")(patches)
    one = keras.layers.BatchNormalization(name="kept")(shared_by_two)
    x = keras.layers.Add()([one, shared_by_two])
    x = keras.layers.Conv2D(4, 3, use_bias=False, name="without_bias")(x)
    x = keras.layers.BatchNormalization(scale=False, name="folded")(keras.layers.Dropout(0.5)(x))
    x = keras.layers.Conv2D(4, 3, activation="relu", name="not_linear")(x)
    x = keras.layers.BatchNormalization(name="kept_too")(x)
    model = keras.Model(patches, x)
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.5, 1.5, w.shape).astype(np.float32) for w in model.get_weights()])
    folded = fold_normalisation(model)
    some = rng.standard_normal((5, 8, 8, 2)).astype(np.float32)
    np.testing.assert_allclose(folded(some), model(some, training=False), rtol=1e-4, atol=1e-4)
    kinds = [layer.name for layer in folded.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert kinds == ["kept", "kept_too"]


def test_training_stops_when_neither_loss_nor_accuracy_improves() -> None:
    loss = np.array([1.0, 0.9, 0.95, 1.0, 1.0, np.nan])
    accuracy = np.array([0.5, 0.5, 0.6, 0.6, 0.5, 0.5])
    assert [epochs_since_better(loss[:n], accuracy[:n]) for n in range(1, 7)] == [0, 0, 0, 1, 2, 3]
    assert epochs_since_better(np.array([np.nan, np.nan]), np.array([0.1, 0.1])) == 1


def test_the_network_of_least_validation_loss_is_kept(tmp_path: Path) -> None:
    model = find_network("waldeland").built()
    history = History(Run(tmp_path))
    keep = KeepBest(Run(tmp_path), 2, history, model)
    keep.set_model(model)
    model.stop_training = False
    bias = model.get_layer("facies").bias
    stopped = []
    for epoch, (loss, accuracy) in enumerate([(np.nan, 0.5), (0.9, 0.4), (1.0, 0.4), (0.95, 0.4)], 1):
        bias.assign(np.full(9, epoch))
        history.rows.append((epoch, 1.0, 0.5, loss, accuracy, 1.0))
        keep.on_epoch_end(epoch)
        stopped.append(model.stop_training)
    assert stopped == [False, False, False, True]
    best = keras.models.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_array_equal(best.get_layer("facies").bias, np.full(9, 2))


def test_a_killed_training_goes_on_where_it_was(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fit_until_killed: Callable[[FitRequest, Path], None],
    tiny_survey: Path,
    tiny_picks: Path,
) -> None:
    """Killed in epoch 3, it does epochs 3 and 4 as the one that nothing stopped, and loses nothing of the first two."""
    request = asked(tiny_survey, tiny_picks, epochs=4)
    whole = fit(prepare(request), new_run("waldeland", tmp_path / "whole"))
    fit_until_killed(request, tmp_path / "killed")
    monkeypatch.chdir(tmp_path)
    run = find_unfinished_run("waldeland", Path("killed"))
    assert run.epochs_done() == 2
    with run.history.open("a") as history:  # killed after the history and before the checkpoint
        history.write("3,9,9,9,9,9\n")
    resumed = fit(prepare_again(run), run)
    rows = [np.loadtxt(each.history, delimiter=",", skiprows=1)[:, :5] for each in (whole, resumed)]
    np.testing.assert_allclose(rows[0], rows[1], rtol=1e-3)
    assert read_scores(whole)["test"]["loss"] == pytest.approx(read_scores(resumed)["test"]["loss"], rel=1e-3)
    assert not resumed.checkpoints()


def test_a_training_that_had_ended_is_only_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_survey: Path, tiny_picks: Path
) -> None:
    """Stopped while it was scored, after it had lost its patience."""
    recipe = replace(find_recipe("waldeland"), patience=1)
    monkeypatch.setattr(fit_module, "find_recipe", lambda *_: recipe)
    monkeypatch.setattr(fit_module, "epochs_since_better", lambda loss, _: int(len(loss) > 1))
    run = new_run("waldeland", tmp_path / "run")
    with monkeypatch.context() as patched, pytest.raises(Cancelled):
        patched.setattr(fit_module, "score_parts", _interrupt)
        fit(prepare(asked(tiny_survey, tiny_picks, epochs=4)), run)
    assert run.epochs_done() == 2
    history, network = run.history.read_bytes(), run.model.read_bytes()
    resumed = fit(prepare_again(run), run)
    assert (resumed.finished, resumed.history.read_bytes(), resumed.model.read_bytes()) == (True, history, network)
    assert resumed.read_card().training["epochs"] == 2


def test_only_checkpoints_are_taken_for_such(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for name in ("epoch-0001 (copy).keras", "epoch-0009.keras.bak", "epoch-x.keras", "epoch-2.keras"):
        (tmp_path / name).touch()
    assert (run.checkpoints(), run.epochs_done()) == ([], 0)
    for epoch in (2, 12_345):
        run.checkpoint(epoch).touch()
    assert (len(run.checkpoints()), run.epochs_done()) == (2, 12_345)


def test_an_export_is_proved_on_the_amplitudes_that_were_trained_on(run: Run, tmp_path: Path) -> None:
    louder = tmp_path / "louder.sgy"
    louder.write_bytes(segy_bytes(grid([19, 20, 21], range(300, 360)), 2 * np.concatenate([textured(60, 50)] * 3)))
    with pytest.raises(
        RunError, match=rf"^Inline 20 of {louder} has other amplitudes than {run.folder} was trained on"
    ):
        export("waldeland", run.folder, tmp_path, survey=louder)
    assert not list(tmp_path.glob("*.onnx"))


def test_a_survey_that_moved_is_gone_on_with_where_its_line_numbers_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []

    def prepare_again(run: Run, survey: Path, _say: object, header_bytes: tuple[int, int]) -> None:
        asked.append((run.folder, survey, header_bytes))
        raise KeyboardInterrupt

    monkeypatch.setattr("trainer.runs.find_unfinished_run", lambda _network, folder: Run(folder))
    monkeypatch.setattr("trainer.runs.prepare_again", prepare_again)
    with pytest.raises(KeyboardInterrupt):
        cli.fit("waldeland", Path("c.sgy"), run=tmp_path, resume=True, inline_byte=9, crossline_byte=21)
    assert asked == [(tmp_path, Path("c.sgy"), (9, 21))]


@pytest.fixture
def unfitted(tmp_path: Path, tiny_survey: Path, tiny_picks: Path) -> tuple[Prepared, Run]:
    """A training that is prepared, and its folder, which has a space in its name."""
    run = Run(tmp_path / "my run")
    run.folder.mkdir()
    return prepare(asked(tiny_survey, tiny_picks, patch_size=16)), run


def test_a_run_that_is_trained_is_left_alone_by_others(
    unfitted: tuple[Prepared, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared, run = unfitted
    refused: list[str] = []

    def train(*_: object) -> None:
        before = {path: path.read_bytes() for path in run.folder.iterdir()}
        with pytest.raises(OutputError) as caught:
            fit(prepared, run)
        refused.append(str(caught.value))
        assert {path: path.read_bytes() for path in run.folder.iterdir()} == before
        raise KeyboardInterrupt

    monkeypatch.setattr("trainer.fit._train", train)
    with pytest.raises(Cancelled) as stopped:
        fit(prepared, run)
    assert refused[0].startswith("Another run is at work on the same output")
    assert str(stopped.value) == "Stopped; nothing half-written is left."
    assert not run.folder.exists()


def test_trainings_of_the_same_second_have_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runs = [new_run("waldeland", None).folder for _ in range(3)]
    assert len({*runs}) == 3
    assert all(folder.is_dir() for folder in runs)


def test_a_folder_with_spaces_is_quoted(unfitted: tuple[Prepared, Run], monkeypatch: pytest.MonkeyPatch) -> None:
    prepared, run = unfitted

    def train(*_: object) -> None:
        run.checkpoint(1).touch()
        raise KeyboardInterrupt

    monkeypatch.setattr("trainer.fit._train", train)
    with pytest.raises(Cancelled) as stopped:
        fit(prepared, run)
    assert str(stopped.value) == (
        f'Stopped. To go on after epoch 1: `trainer fit waldeland --run "{run.folder}" --resume`.'
    )


@pytest.mark.parametrize(
    "wish",
    [
        {"picks": [Path("a.ixz")]},
        {"legend": Path("a.legend")},
        {"split": "blocked"},
        {"recipe": "default"},
        {"epochs": 3},
        {"patch_size": 64},
        {"weights": "random"},
        {"seed": 0},
        {"name": ""},
        {"survey_name": "a"},
        {"licence": "a"},
        {"polarity": "a"},
    ],
)
def test_a_resumed_run_takes_no_other_wishes(wish: dict[str, Any]) -> None:
    with pytest.raises(OptionError) as caught:
        cli.fit("waldeland", resume=True, **wish)
    assert str(caught.value) == "A run goes on as it was asked for: beside --resume, give --run and --survey at most."


def test_what_is_not_wished_for_is_as_a_request_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_survey: Path, tiny_picks: Path
) -> None:
    requests: list[FitRequest] = []

    def stop() -> None:
        raise KeyboardInterrupt

    def keep(request: FitRequest, _: object) -> None:
        requests.append(request)

    monkeypatch.setattr(request_module, "prepare", keep)
    monkeypatch.setattr(cli, "_start_tensorflow", stop)
    for wishes in ({}, {"seed": 0, "inline_byte": 9, "crossline_byte": 21, "polarity": "normal"}):
        with pytest.raises(KeyboardInterrupt):
            cli.fit("waldeland", tiny_survey, [tiny_picks], run=tmp_path / "run", **wishes)
        assert requests.pop() == FitRequest("waldeland", tiny_survey, (tiny_picks,), **wishes)


def test_a_survey_with_line_numbers_elsewhere_is_trained_on(tmp_path: Path, tiny_picks: Path) -> None:
    survey = tmp_path / "elsewhere.sgy"
    amplitude = np.concatenate([textured(60, 50)] * 3)
    positions, says = grid([19, 20, 21], range(300, 360)), {109: ("h", [4] * 180)}
    survey.write_bytes(segy_bytes(positions, amplitude, code=3, traces_say=says, line_bytes=(9, 21)))
    request = asked(survey, tiny_picks, inline_byte=9, crossline_byte=21)
    prepared, run = prepare(request), new_run("waldeland", tmp_path / "run")
    run.write_settings(RunSettings(request, "inline", 20, prepared.picks_sha256))
    again = prepare_again(run)
    assert (again.request.inline_byte, again.request.crossline_byte) == (9, 21)
    np.testing.assert_array_equal(again.section.amplitude, prepared.section.amplitude)
    np.testing.assert_array_equal(training_section(run).amplitude, prepared.section.amplitude)


def test_an_export_is_told_where_a_moved_survey_has_its_line_numbers(run: Run, tmp_path: Path) -> None:
    moved = tmp_path / "moved.sgy"
    amplitude = np.concatenate([textured(60, 50)] * 3)
    positions, says = grid([19, 20, 21], range(300, 360)), {109: ("h", [4] * 180)}
    moved.write_bytes(segy_bytes(positions, amplitude, code=3, traces_say=says, line_bytes=(9, 21)))
    done = export("waldeland", run.folder, tmp_path, survey=moved, header_bytes=(9, 21))
    assert done.proof.line.patches == 1200
    done = export("waldeland", run.folder, tmp_path / "half", survey=moved, header_bytes=(9, 21), precision="fp16")
    assert done.proof.test is not None


def test_a_run_of_before_there_were_header_bytes_is_read(tiny_survey: Path, tiny_picks: Path) -> None:
    request = asked(tiny_survey, tiny_picks)
    entries = request.to_json()
    del entries["inline_byte"], entries["crossline_byte"]
    assert FitRequest.from_json(entries) == replace(request, survey=tiny_survey.resolve())


def test_picks_of_one_facies_and_of_another_survey(tmp_path: Path, tiny_survey: Path) -> None:
    picks = tmp_path / "picks.ixz"
    picks.write_text("".join(f"20 {x} 8 3\n" for x in range(350, 450)))
    said: list[str] = []
    with pytest.raises(PicksError) as caught:
        prepare(asked(tiny_survey, picks), said.append)
    assert str(caught.value) == "All picks are high_amplitude: there is nothing to tell apart."
    assert said[1] == "Warning: 90 of 100 picks are not on live traces of inline 20: are they of this survey?"


def test_what_cannot_be_gone_on_with(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_survey: Path, tiny_picks: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError) as caught:
        find_unfinished_run("waldeland", run.folder)
    assert str(caught.value) == f"{run.folder} holds a finished run: there is nothing to go on with."
    with pytest.raises(RunError) as caught:
        find_unfinished_run("waldeland", None)
    assert str(caught.value) == "There is no unfinished run of waldeland under runs/ to go on with."
    with pytest.raises(RunError) as caught:
        find_unfinished_run("waldeland", Path("nope"))
    assert str(caught.value) == ("nope is no run folder: `trainer fit` makes them, under runs/ unless told otherwise.")
    folder = _made_run(Path("runs/a"), "vgg16", finished=False)
    with pytest.raises(RunError) as caught:
        find_unfinished_run("waldeland", folder)
    assert str(caught.value) == (
        "runs/a is a run of vgg16, not of waldeland. To go on with it: `trainer fit vgg16 --run runs/a --resume`."
    )
    assert find_unfinished_run("vgg16", None) == Run(folder)
    moved = tmp_path / "picks.ixz"
    moved.write_bytes(tiny_picks.read_bytes())
    unfinished = new_run("waldeland", Path("runs/b"))
    settings = RunSettings(asked(tiny_survey, moved), "inline", 20, "another")
    unfinished.write_settings(settings)
    with pytest.raises(RunError) as caught:
        prepare_again(unfinished)
    assert str(caught.value) == "The picks have changed since runs/b was trained on them: fit the network again."
    unfinished.write_settings(replace(settings, picks_sha256=sha256([moved])))
    with pytest.raises(SurveyNotFoundError) as gone:
        prepare_again(unfinished, Path("gone.sgy"))
    assert str(gone.value) == (
        "The survey that runs/b was trained on is not at gone.sgy any more. Say where it is with `--survey CUBE.sgy`."
    )


def test_export_before_any_run_says_what_to_run_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError) as caught:
        find_run("waldeland", None)
    assert str(caught.value) == (
        "There is no finished run of waldeland under runs/. "
        "Run this first: `trainer fit waldeland --survey CUBE.sgy --picks PICKS.ixz`."
    )
    with pytest.raises(RunError, match=r"^elsewhere holds no finished run\. Run this first: `trainer fit waldeland "):
        find_run("waldeland", Path("elsewhere"))
    folder = _made_run(Path("runs/a"), finished=False)
    go_on = (
        "If the training in runs/a was stopped, go on: `trainer fit waldeland --run runs/a --resume`. "
        "Or fit anew: `trainer fit waldeland --survey CUBE.sgy --picks PICKS.ixz`."
    )
    for given, none in (
        (None, "There is no finished run of waldeland under runs/"),
        (folder, "runs/a holds no finished run"),
    ):
        with pytest.raises(RunError) as caught:
            find_run("waldeland", given)
        assert str(caught.value) == f"{none}. {go_on}"
    with pytest.raises(RunError, match=r"^runs/a holds no finished run\. Run this first: `trainer fit vgg16 "):
        find_run("vgg16", folder)


def _made_run(folder: Path, network: str = "waldeland", *, finished: bool = True) -> Path:
    folder.mkdir(parents=True)
    Run(folder).write_settings(RunSettings(FitRequest(network, Path("a.sgy"), (Path("a.ixz"),)), "inline", 20, ""))
    for name in ("model.keras", "card.json") if finished else ("model.keras",):
        (folder / name).touch()
    return folder


def test_the_newest_finished_run_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ("waldeland-20260102-000000", "mine", "waldeland-20260103-000000")
    for number, name in enumerate(names):
        os.utime(_made_run(Path("runs") / name) / "card.json", ns=(0, number % 2))
    folder = _made_run(Path("runs/waldeland-20260104-000000"), finished=False)
    _made_run(Path("runs/waldeland-3d"), "waldeland-3d")
    _made_run(Path("runs/waldeland-lost")).joinpath("run.json").unlink()
    assert find_run("waldeland", None).folder == Path("runs/mine")
    with pytest.raises(RunError) as caught:
        new_run("waldeland", folder)
    assert str(caught.value) == f"{folder} is not empty, and a run needs a folder of its own."


def _trainer(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from trainer.cli import main; main()", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_help_does_not_wait_for_tensorflow(tmp_path: Path) -> None:
    started = time.perf_counter()
    done = _trainer("--help", cwd=tmp_path)
    assert (done.returncode, time.perf_counter() - started < 2) == (0, True)
    check = "import sys, trainer.cli; print([m for m in ('tensorflow', 'keras', 'onnx', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_command_prints_the_sentence_and_nothing_else(tmp_path: Path) -> None:
    done = _trainer("export", "waldeland", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "There is no finished run of waldeland under runs/. "
        "Run this first: `trainer fit waldeland --survey CUBE.sgy --picks PICKS.ixz`.\n"
    )
    done = _trainer("fit", "waldeland", "--survey", "no.sgy", "--picks", "no.ixz", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "There is no picks file at no.ixz.\n")
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra_one_sentence(tmp_path: Path) -> None:
    code = (
        "import trainer.cli as cli; find = cli.find_spec; "
        "cli.find_spec = lambda name: None if name == 'tensorflow' else find(name); cli.main()"
    )
    command = [sys.executable, "-c", code, "fit", "waldeland", "--survey", "a.sgy", "--picks", "a.ixz"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        'Training needs tensorflow, which is not installed: pip install "facies-edge[trainer,cpu]"\n'
    )


def _shape(value: onnx.ValueInfoProto) -> list[str | int]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
