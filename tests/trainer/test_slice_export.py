"""A slice model written beside its patch model: the proof, the sentences, and other languages that run it."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", exc_type=ImportError, reason="compiling a slice model needs onnx")
pytest.importorskip("onnxruntime", exc_type=ImportError, reason="a slice model is proved with onnxruntime")

import onnx

from infer.card import read_card, write_card
from infer.classification import classify
from infer.demo import write_demo
from infer.errors import LineNotFoundError, OptionError
from infer.models import load_model
from infer.survey import open_survey
from trainer import cli, slice_export
from trainer.precision import in_precision
from trainer.slice_export import demo_section, export_slice
from trainer.slicegraph import SliceError

from ..conftest import grid, segy_bytes

ROOT = Path(__file__).parents[2]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copy(ROOT / "exported/waldeland.onnx", tmp_path / "mine.onnx"))


@pytest.fixture(autouse=True)
def small_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slice_export, "PROOF_MULTIPLY_ADDS", 5e9)


def test_it_is_written_beside_its_patch_model_with_its_card(model: Path) -> None:
    done = export_slice(model)
    assert done.path == model.with_name("mine.slice.onnx")
    assert read_card(done.path) == read_card(model)
    assert (done.samples, done.other) == (47 * 47, 0)
    assert 0 < done.max_difference < 1e-5
    size = f"{done.path.stat().st_size / 1e6:.1f} MB"
    assert done.report() == (
        f"Wrote {done.path} ({size}). A sample takes 204,640 multiply-adds in place of 2,235,590: 10.9 times fewer.\n"
        f"On 2,209 samples its probabilities are within {done.max_difference:.1e} of the "
        "patch model's, all facies the same."
    )


def test_infer_uses_it_by_itself_and_the_facies_are_those_of_patches(model: Path) -> None:
    export_slice(model)
    section = demo_section()
    by_slice, by_patches = load_model(model, "cpu"), load_model(model, "cpu", "patch")
    assert (by_slice.engine(), by_patches.engine()) == ("slice", "patch")
    part = slice(0, 70)
    section = replace(
        section,
        amplitude=np.ascontiguousarray(section.amplitude[part, :50]),
        twt_ms=section.twt_ms[:50],
        inline=section.inline[part],
        crossline=section.crossline[part],
        live=section.live[part],
    )
    one, other = (classify(section, loaded, 900.0) for loaded in (by_slice, by_patches))
    np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-5)
    np.testing.assert_array_equal(one.facies, other.facies)


def test_a_failed_proof_leaves_no_file_and_no_older_one(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    older = export_slice(model).path
    monkeypatch.setattr(slice_export, "TOLERANCE", 0.0)
    with pytest.raises(SliceError) as caught:
        export_slice(model)
    said = str(caught.value)
    assert said.startswith(
        "The slice model of waldeland is not its patch model: on 2,209 samples its probabilities are up to "
    )
    assert said.endswith(" away (0 is allowed). No file was written.")
    assert not older.exists()
    assert [path.name for path in model.parent.iterdir()] == ["mine.onnx"]


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_model_in_reduced_precision_is_proved_too(model: Path, precision: str) -> None:
    patches = np.random.default_rng(0).uniform(-1, 1, (64, 64, 64)).astype(np.float32)
    card = replace(read_card(model), precision=precision)
    onnx.save(in_precision(onnx.load(model), precision, patches), model)
    write_card(model, card)
    exported = export_slice(model)
    assert exported.max_difference <= 1e-2
    assert read_card(exported.path) == card


def test_a_slice_model_is_none_to_compile(model: Path) -> None:
    compiled = export_slice(model).path
    with pytest.raises(SliceError) as caught:
        export_slice(compiled)
    assert str(caught.value) == "mine.slice.onnx is a slice model already."
    assert compiled.exists()


def test_a_line_without_its_survey_is_refused(model: Path) -> None:
    with pytest.raises(OptionError) as caught:
        cli.slice_(str(model), None, inline=301)
    assert str(caught.value) == "A line to prove it on is one of a survey: give that with --survey."


def test_the_command_proves_it_on_a_line_that_is_given(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    survey = write_demo(tmp_path / "demo", inlines=range(300, 302)).survey
    cli.slice_(str(model), survey, inline=301)
    assert capsys.readouterr().out.startswith(f"Wrote {model.with_name('mine.slice.onnx')} (")


def test_a_line_without_a_live_trace_is_refused_and_an_older_slice_model_stays(model: Path) -> None:
    older = export_slice(model).path
    section = demo_section()
    with pytest.raises(LineNotFoundError) as caught:
        export_slice(model, replace(section, number=301, live=np.zeros_like(section.live)))
    assert str(caught.value) == "Inline 301 has no live trace to prove a slice model on."
    assert older.exists()


def test_the_command_reads_line_numbers_where_it_is_told(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    survey, amplitude = tmp_path / "elsewhere.sgy", demo_section().amplitude[:60]
    positions = grid([300, 301], range(300, 360))
    survey.write_bytes(segy_bytes(positions, np.concatenate([amplitude] * 2), line_bytes=(9, 21)))
    cli.slice_(str(model), survey, inline=301, inline_byte=9, crossline_byte=21)
    assert capsys.readouterr().out.startswith(f"Wrote {model.with_name('mine.slice.onnx')} (")


def test_a_model_that_knows_no_clip_is_proved_all_the_same(model: Path) -> None:
    write_card(model, replace(read_card(model), amplitude_clip=None))
    assert export_slice(model).other == 0


NODE_PACKAGES = ROOT / "tests/node_modules"
SCRIPT = """
const ort = require("onnxruntime-node"), fs = require("fs");
const [model, raw, traces, samples, clip, clipOfCard, out] = process.argv.slice(2);
const bytes = fs.readFileSync(raw);
// It hands over no inputs that may be left out, so the section is brought to the scale of the model's own clip.
const amplitude = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
const section = amplitude.map(a => a / clip * clipOfCard);
ort.InferenceSession.create(model).then(async session => {
  const result = await session.run({
    section: new ort.Tensor("float32", section, [Number(traces), Number(samples)]),
  });
  fs.writeFileSync(out, Buffer.from(result.facies.data.buffer));
  console.log(JSON.stringify([result.facies.type, result.facies.dims, result.probabilities.dims, session.inputNames]));
});
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node")
@pytest.mark.skipif(
    not (NODE_PACKAGES / "onnxruntime-node").is_dir(),
    reason="onnxruntime-node is not there: npm install --prefix tests onnxruntime-node",
)
def test_another_language_runs_it_with_nothing_but_onnxruntime(tmp_path: Path) -> None:
    demo = open_survey(write_demo(tmp_path, inlines=range(300, 340)).survey)
    section, model = demo.read_crossline(500), load_model(ROOT / "exported/waldeland.onnx", "cpu")
    expected = classify(section, model, demo.amplitude_clip)
    assert section.live.all()
    section.amplitude.astype("<f4").tofile(tmp_path / "section.raw")
    (tmp_path / "run.js").write_text(SCRIPT)
    command = ["node", tmp_path / "run.js", ROOT / "exported/waldeland.slice.onnx", tmp_path / "section.raw"]
    command += [*section.shape, demo.amplitude_clip, model.card.amplitude_clip, tmp_path / "facies.raw"]
    done = subprocess.run(
        list(map(str, command)), check=True, capture_output=True, text=True, env={"NODE_PATH": str(NODE_PACKAGES)}
    )
    kind, size, of_probabilities, inputs = json.loads(done.stdout)
    assert (kind, size, of_probabilities) == ("int8", [*section.shape], [9, *section.shape])
    assert inputs == ["section"]
    facies = np.fromfile(tmp_path / "facies.raw", np.int8).reshape(section.shape)
    np.testing.assert_array_equal(facies, expected.facies)
