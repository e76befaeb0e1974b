"""The commands as a user types them: what they print, what they leave, and with which status they end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from importlib import metadata

import numpy as np
import pytest

from infer import cli
from infer.card import write_card

from ..conftest import grid, reflections
from .conftest import card_for


@pytest.fixture
def infer(monkeypatch, capsys, tmp_path):
    """Runs `infer ARGUMENTS` in tmp_path and gives status, screen, errors."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["infer", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        return end.value.code or 0, said.out, said.err

    return run


@pytest.fixture
def cube(build_segy):
    return build_segy(grid(range(10, 15), range(3, 9)), reflections(30, 12), code=5)


def test_the_module_is_the_command(infer):
    status, said, errors = infer("--version")
    assert (status, errors) == (0, "")
    by_module = subprocess.run([sys.executable, "-m", "infer", "--version"], capture_output=True, text=True, check=True)
    assert by_module.stdout == said == f"{metadata.version('facies-edge')}\n"


def test_slice_writes_what_is_asked_for_and_says_what_ran(infer, cube, tiny_model, tmp_path):
    status, said, errors = infer(
        "slice", cube, "--crossline", 5, "--model", tiny_model(8), "--device", "cpu", "--out", "a.npz", "--out", "a.sgy"
    )
    assert (status, errors) == (0, "")
    wrote = said.splitlines()
    assert wrote[:2] == ["Wrote a.npz", "Wrote a.sgy"]
    assert wrote[2].startswith("tiny on CPU (")
    assert " 60 samples classified in " in wrote[2]
    assert wrote[2].endswith(" samples/s")
    assert np.load("a.npz")["facies"].shape == (5, 12)


def test_slice_runs_the_slice_model_that_is_beside_and_says_so(infer, cube, sliced_model):
    line = ("slice", cube, "--crossline", 5, "--model", sliced_model(8), "--device", "cpu")
    assert " threads), slice engine: 60 samples classified in " in infer(*line, "--out", "slice.npz")[1].replace(
        "1 thread)", "1 threads)"
    )
    assert ", patch engine: 60 samples classified in " in infer(*line, "--engine", "patch", "--out", "patch.npz")[1]
    assert ", patch engine: 8 samples classified in " in infer(*line, "--stride", 4, "--out", "stride.npz")[1]
    by_slice, by_patch = (np.load(f"{name}.npz") for name in ("slice", "patch"))
    np.testing.assert_array_equal(by_slice["facies"], by_patch["facies"])
    np.testing.assert_allclose(by_slice["probabilities"], by_patch["probabilities"], atol=1e-5)


def test_a_slice_model_of_other_weights_is_said_not_to_run(infer, cube, sliced_model):
    path = sliced_model(8)
    write_card(path, replace(card_for(8), weights_sha256="f" * 64))
    reason = (
        f"tiny8.slice.onnx is no slice model of the weights in tiny8.onnx: make it again with `trainer slice {path}`."
    )
    line = ("slice", cube, "--crossline", 5, "--model", path, "--device", "cpu", "--out", "a.npy")
    said = infer(*line)[1].splitlines()
    assert said[0] == f"By patches, since {reason}"
    assert ", patch engine: " in said[-1]
    assert infer(*line, "--engine", "slice") == (2, "", f"The slice engine cannot run tiny8.onnx: {reason}\n")


def test_slice_draws_a_picture_here_by_default(infer, cube, tiny_model, tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    moved = cube.rename(folder / "cube.sgy")
    status, said, _ = infer("slice", moved, "--inline", 12, "--model", tiny_model(8), "--device", "cpu")
    assert status == 0
    assert said.splitlines()[0] == "Wrote cube_inline_12.png"
    assert (tmp_path / "cube_inline_12.png").is_file()


def test_quiet_says_nothing(infer, cube, tiny_model):
    assert infer("slice", cube, "--inline", 12, "--model", tiny_model(8), "--quiet") == (0, "", "")


def test_auto_says_why_it_is_the_cpu(infer, cube, tiny_model):
    from infer.sessions import cuda_obstacle

    _, said, _ = infer("slice", cube, "--inline", 12, "--model", tiny_model(8), "--out", "a.npy")
    if obstacle := cuda_obstacle():
        assert said.splitlines()[0] == f"On the CPU, since {obstacle}"
    else:
        assert " on CUDA:0 (" in said


def test_options_reach_the_engine(infer, cube, tiny_model):
    line = ("slice", cube, "--crossline", 5, "--model", tiny_model(8), "--quiet")
    infer(*line, "--out", "plain.npz")
    infer(*line, "--out", "clip.npz", "--clip", 5)
    infer(*line, "--out", "stride.npz", "--stride", 3)
    infer(*line, "--out", "batch.npz", "--batch-size", 7)
    plain, clip, stride, batch = (
        np.load(f"{name}.npz")["probabilities"] for name in ("plain", "clip", "stride", "batch")
    )
    np.testing.assert_allclose(batch, plain, atol=1e-6)
    np.testing.assert_allclose(stride[:, ::3, ::3], plain[:, ::3, ::3], atol=1e-6)
    assert not np.allclose(stride, plain, atol=1e-3)
    assert not np.allclose(clip, plain, atol=1e-3)


def test_other_header_bytes(infer, build_segy, tiny_model):
    cube = build_segy(grid(range(10, 15), range(3, 9)), reflections(30, 12), line_bytes=(9, 21))
    status, _, _ = infer(
        "slice", cube, "--inline", 12, "--inline-byte", 9, "--crossline-byte", 21, "--model", tiny_model(8), "--quiet"
    )
    assert status == 0


def test_samples_that_are_no_amplitudes_are_warned_of(infer, build_segy, tiny_model):
    samples = reflections(30, 12)
    samples[13, 4:6] = np.nan
    cube = build_segy(grid(range(10, 15), range(3, 9)), samples)
    status, _, errors = infer("slice", cube, "--inline", 12, "--model", tiny_model(8), "--quiet")
    assert status == 0
    assert errors == (
        "Warning: Inline 12 has 2 samples that are no amplitudes (NaN, infinite, 1e30): taken as silence.\n"
    )


def test_what_cannot_be_done_is_one_sentence_and_status_2(infer, cube, tiny_model, tmp_path):
    model = tiny_model(8)
    (tmp_path / "empty.sgy").touch()
    (tmp_path / "half.sgy").write_bytes(cube.read_bytes()[:-100])
    (tmp_path / "text.sgy").write_text("a letter, not a survey\n" * 400)
    before = set(tmp_path.iterdir())
    for arguments in (
        ("slice", cube),
        ("slice", cube, "--inline", 12, "--crossline", 5),
        ("slice", cube, "--crossline", 5000, "--model", model),
        ("slice", cube, "--inline", 12, "--model", "vgg99"),
        ("slice", cube, "--inline", 12, "--model", model, "--device", "gpu"),
        ("slice", cube, "--inline", 12, "--model", model, "--device", "cpu", "--engine", "best"),
        ("slice", cube, "--inline", 12, "--model", model, "--device", "cpu", "--engine", "slice"),
        ("slice", cube, "--inline", 12, "--model", model, "--device", "cpu", "--stride", 0),
        ("slice", cube, "--inline", 12, "--model", model, "--device", "cpu", "--clip", -1),
        ("slice", cube, "--inline", 12, "--model", model, "--device", "cpu", "--clip", 0),
        ("slice", cube, "--inline", 12, "--model", model, "--device", "cpu", "--batch-size", 0),
        ("slice", cube, "--inline", 12, "--model", model, "--out", "line.tif"),
        ("slice", cube, "--inline", 12, "--model", cube),
        ("slice", "none.sgy", "--inline", 12),
        *(("slice", f"{name}.sgy", "--inline", 12, "--model", model) for name in ("empty", "half", "text")),
        *(("scan", f"{name}.sgy") for name in ("empty", "half", "text", "none")),
        ("card", "vgg99"),
        ("card", model, "none.json"),
    ):
        status, said, errors = infer(*arguments)
        assert (status, said) == (2, ""), arguments
        assert errors.count("\n") == 1, errors
        assert errors[0].isupper() or errors.startswith(
            (str(tmp_path), "cube", "empty", "half", "text", "none", "line")
        ), errors
        assert errors.rstrip().endswith((".", "`")), errors
        assert set(tmp_path.iterdir()) == before, arguments


def test_a_line_of_holes_is_said_to_be_one(infer, build_segy, tiny_model, tmp_path):
    cube = build_segy(grid((1, 2, 5), range(3, 9)), reflections(18, 12), name="gap.sgy")
    before = set(tmp_path.iterdir()) | {tiny_model(8)}
    status, said, errors = infer("slice", cube, "--inline", 3, "--model", tiny_model(8), "--out", "a.sgy")
    assert (status, said, errors) == (2, "", "Inline 3 of gap.sgy has no live trace to classify.\n")
    assert set(tmp_path.iterdir()) == before


def test_a_stride_counts_what_was_classified(infer, cube, tiny_model):
    _, said, _ = infer("slice", cube, "--crossline", 5, "--stride", 4, "--model", tiny_model(8), "--out", "a.npy")
    assert " 8 samples classified in " in said


def test_no_memory_is_a_sentence(infer, cube, tiny_model, monkeypatch):
    def exhausted(*_, **__):
        raise MemoryError

    monkeypatch.setattr("infer.patch_engine.classify_samples", exhausted)
    status, _, errors = infer("slice", cube, "--inline", 12, "--model", tiny_model(8), "--device", "cpu")
    assert status == 2
    assert errors == (
        "There is not enough memory for this. `--engine patch` with a small --batch-size takes the least.\n"
    )


def test_a_broken_link_among_the_models_hides_no_other(infer, tiny_model, tmp_path):
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported" / "aaa.onnx").symlink_to("nowhere")
    tiny_model(8).rename(tmp_path / "exported" / "tiny.onnx")
    status, said, _ = infer("models")
    assert status == 0
    assert "tiny (" in said


def test_a_line_that_is_not_there(infer, cube, tiny_model):
    _, _, errors = infer("slice", cube, "--crossline", 5000, "--model", tiny_model(8))
    assert errors == f"cube.sgy has no crossline 5000: its crosslines run from 3 to 8. See `infer scan {cube}`.\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_request_to_end_is_a_sentence_too(number, infer, cube, tiny_model, monkeypatch):
    def interrupted(*_, **__):
        if number == signal.SIGINT:
            raise KeyboardInterrupt  # where tests run in the background the signal itself is ignored
        signal.raise_signal(number)

    before = signal.getsignal(signal.SIGTERM)

    monkeypatch.setattr("infer.patch_engine.classify_samples", interrupted)
    assert infer("slice", cube, "--inline", 12, "--model", tiny_model(8), "--device", "cpu") == (
        128 + number,
        "",
        "Stopped; nothing half-written is left.\n",
    )
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_cube_that_is_ended_before_its_first_block_leaves_nothing(infer, cube, tiny_model, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("infer.cube.compute_block", interrupted)
    out = tmp_path / "out"
    out.mkdir()
    assert infer("cube", cube, out / "facies.sgy", "--model", tiny_model(8), "--device", "cpu") == (
        143,
        "",
        "Stopped. 0 of 5 lines are done and kept; the same command goes on.\n",
    )
    assert not any(out.iterdir())


@pytest.mark.parametrize("name", ["theirs.sgy", "theirs.confidence.sgy", "theirs.SEGY"])
def test_a_seg_y_file_that_is_there_is_not_replaced(name, infer, cube, tiny_model, tmp_path):
    (tmp_path / name).write_bytes(b"a survey")
    words = "slice", cube, "--inline", 12, "--model", tiny_model(8), "--out", name
    assert infer(*words) == (2, "", f"{name} is there already. Choose another name, or delete it first.\n")
    assert (tmp_path / name).read_bytes() == b"a survey"


def test_an_empty_region_is_not_the_whole_survey(infer, cube, tiny_model):
    _, _, errors = infer("cube", cube, "facies.sgy", "--model", tiny_model(8), "--region", "")
    assert errors == (
        "A region is written like inlines=100:200,crosslines=300:400,twt=1000:1400, times in ms, each at most once; "
        "'' is not.\n"
    )


def test_scan_as_json(infer, cube):
    status, said, _ = infer("scan", cube, "--json")
    report = json.loads(said)
    assert status == 0
    assert report["inlines"] == {"first": 10, "last": 14, "step": 1, "count": 5}
    assert report["traces"] == {"total": 30, "missing": 0, "dead": 0, "duplicate": 0}


def test_scan_says_what_to_type_next_and_it_works(infer, cube, tiny_model):
    _, said, _ = infer("scan", cube)
    command = said[said.index("infer slice") :].splitlines()[0]
    status, _, _ = infer(*command.split()[1:], "--model", tiny_model(8))
    assert status == 0


def test_models_lists_what_is_in_exported(infer, tiny_model, tmp_path):
    (tmp_path / "exported").mkdir()
    tiny_model(8).rename(tmp_path / "exported" / "tiny.onnx")
    status, said, _ = infer("models")
    assert status == 0
    assert "tiny (0.0 MB): " in said
    assert "layers, salt, else" in said
    assert str(tmp_path / "exported") in said


def test_models_say_which_has_a_slice_model(infer, sliced_model, tmp_path):
    folder = tmp_path / "exported"
    folder.mkdir()
    for file in (sliced_model(8), tmp_path / "tiny8.slice.onnx"):
        file.rename(folder / file.name)
    _, said, _ = infer("models")
    assert "tiny8.slice (" not in said
    assert f"  slice     {folder / 'tiny8.slice.onnx'}\n" in said
    write_card(folder / "tiny8.onnx", replace(card_for(8), precision="fp16"))
    assert (
        "  slice     tiny8.slice.onnx is no slice model of the weights in tiny8.onnx: make it again with "
        f"`trainer slice {folder / 'tiny8.onnx'}`.\n"
    ) in infer("models")[1]


@pytest.mark.parametrize(
    ("precision", "scores", "lines"),
    [
        ("fp32", {"agreement": 1.0, "test_accuracy": 0.99}, ["precision fp32", "scores    test 99.00%"]),
        (
            "int8",
            {
                "agreement": 0.9975,
                "test_accuracy": 0.99,
                "train_accuracy": 1,
                "exported_test_accuracy": 0.9885,
                "keras_test_accuracy": 0.9895,
                "exported_test_picks": 2000,
            },
            [
                "precision int8, with the facies of the trained network on 99.75% of patches",
                "scores    test 98.85% (98.95% before int8, both on 2,000 of the picks), train 100.00%",
            ],
        ),
    ],
)
def test_models_say_precision_and_the_accuracy_of_the_file(infer, tiny_model, tmp_path, precision, scores, lines):
    (tmp_path / "exported").mkdir()
    path = tiny_model(8).rename(tmp_path / "exported" / "tiny.onnx")
    write_card(path, replace(card_for(8), precision=precision, scores=scores, split={}))
    _, said, _ = infer("models")
    assert [line.strip() for line in said.splitlines()[3:5]] == lines


def test_models_are_listed_by_the_name_that_finds_them(infer, tiny_model, tmp_path):
    (tmp_path / "exported").mkdir()
    tiny_model(8).rename(tmp_path / "exported" / "mine.onnx")
    assert infer("models")[1].startswith("mine (")


def test_card_prints_and_gives_cards(infer, tiny_model, tmp_path):
    model = tiny_model(8)
    _, said, _ = infer("card", model)
    assert json.loads(said) == json.loads(card_for(8).to_json())
    (tmp_path / "card.json").write_text(said.replace('"tiny"', '"renamed"'), encoding="utf-8")
    assert infer("card", model, "card.json")[0] == 0
    assert json.loads(infer("card", model)[1])["name"] == "renamed"
    (tmp_path / "card.bin").write_bytes(b"\xff")
    for name, reason in (("none.json", "No such file or directory"), ("card.bin", "it is not text")):
        status, _, said = infer("card", model, name)
        assert status != 0
        assert said == f"{name} cannot be read as a model card: {reason}.\n"


def test_doctor_fits_a_screen_and_names_what_runs(infer):
    status, said, _ = infer("doctor")
    assert status == 0
    assert len(said.splitlines()) < 30
    assert "CPUExecutionProvider" in said
    assert "\nCUDA " in said


def test_help_imports_nothing_heavy():
    script = (
        "import sys; from infer import cli\n"
        "sys.argv = ['infer', '--help']\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'numpy', 'numba', 'onnxruntime', 'segyio', 'matplotlib', 'rich'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[]"


def test_the_runtime_never_imports_the_trainer():
    script = (
        "import sys, pkgutil, importlib, infer\n"
        "for module in pkgutil.walk_packages(infer.__path__, 'infer.'):\n"
        "    try:\n"
        "        importlib.import_module(module.name)\n"
        "    except ModuleNotFoundError as missing:\n"  # extras
        "        assert missing.name.partition('.')[0] in 'zarr distributed starlette uvicorn', missing\n"
        "print(sorted({'trainer', 'tensorflow', 'keras', 'onnx', 'tf2onnx'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[]"


@pytest.mark.skipif(sys.platform == "win32", reason="the words of POSIX systems")
def test_names_longer_than_a_file_system_takes(infer, cube):
    long = "x" * 300
    for *command, name, verb in (
        ("scan", f"{long}.sgy", "read"),
        ("slice", cube, "--inline", "12", "--out", f"{long}.npz", "written"),
        ("slice", cube, "--inline", "12", "--out", f"{long}/a.npz", "written"),
        ("cube", cube, f"{long}.sgy", "written"),
    ):
        status, _, errors = infer(*command, name)
        assert (status, errors.splitlines()) == (2, [f"{name} cannot be {verb}: File name too long."])
