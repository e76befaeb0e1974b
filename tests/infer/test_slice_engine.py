"""The slice engine against the patch model applied one by one, however a section falls into tiles."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from infer import sessions
from infer.card import read_card, write_card
from infer.classification import classify
from infer.demo import DEMO_INLINE, write_demo
from infer.errors import Cancelled, DeviceError, ModelError, ModelNotFoundError, OptionError
from infer.models import find_model, load_model, slice_path
from infer.section import NO_DATA
from infer.sessions import Model
from infer.slice_engine import copy_window
from infer.survey import open_survey

from .conftest import card_for, compile_slice
from .test_classify import CLIP, one_by_one, section_of


@pytest.fixture
def tiles_of(monkeypatch):
    """Makes tiles at most that long and wide."""
    return lambda size: monkeypatch.setattr(Model, "tile_size", size)


@pytest.fixture
def started(monkeypatch):
    """The names of the files that sessions are started for."""
    names, start = [], sessions._start

    def recorded(path, *how):
        names.append(path.name)
        return start(path, *how)

    monkeypatch.setattr(sessions, "_start", recorded)
    return names


def by_patches(section, path, **options):
    return classify(section, load_model(path, "cpu", "patch"), CLIP, **options)


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("tile", [1, 3, 7, 100])
@pytest.mark.parametrize("shape", [(13, 11), (1, 1), (1, 20), (20, 1), (3, 5)])
def test_every_sample_equals_the_model_on_its_own_padded_patch(sliced_model, tiles_of, size, tile, shape):
    tiles_of(tile)
    section, path = section_of(*shape), sliced_model(size)
    result = classify(section, load_model(path, "cpu", "slice"), CLIP)
    expected = one_by_one(section, path, size)
    np.testing.assert_allclose(result.probabilities, expected, atol=1e-6)
    np.testing.assert_array_equal(result.facies, expected.argmax(axis=0))


def test_the_committed_model_whatever_the_tiles(tiles_of, tmp_path):
    section, path = section_of(75, 70, dead=(20, 74)), find_model("waldeland")
    live, model = section.live, Model(compile_slice(path, tmp_path), "cpu")
    whole = classify(section, model, CLIP)
    patches = by_patches(section, path)
    np.testing.assert_allclose(whole.probabilities[:, live], patches.probabilities[:, live], atol=1e-5)
    np.testing.assert_array_equal(whole.facies, patches.facies)
    for tile in (17, 64):
        tiles_of(tile)
        in_tiles = classify(section, model, CLIP)
        np.testing.assert_allclose(in_tiles.probabilities[:, live], whole.probabilities[:, live], atol=1e-6)
        np.testing.assert_array_equal(in_tiles.facies, whole.facies)


def test_the_demo_survey_gets_the_same_facies_from_either_engine(tmp_path, tiles_of):
    tiles_of(64)
    survey = open_survey(write_demo(tmp_path, inlines=range(DEMO_INLINE, DEMO_INLINE + 2)).survey)
    whole = survey.read_inline(DEMO_INLINE)
    part = slice(110, 180)
    section = replace(
        whole,
        amplitude=np.ascontiguousarray(whole.amplitude[part, :90]),
        inline=whole.inline[part],
        crossline=whole.crossline[part],
        twt_ms=whole.twt_ms[:90],
        live=whole.live[part],
    )
    path, clip = find_model("demo"), survey.amplitude_clip
    by_slice = classify(section, Model(compile_slice(path, tmp_path), "cpu"), clip)
    by_patch = classify(section, load_model(path, "cpu", "patch"), clip)
    np.testing.assert_allclose(by_slice.probabilities, by_patch.probabilities, atol=1e-5)
    first, second = np.sort(by_patch.probabilities, axis=0)[[-1, -2]]
    clear = first - second > 2e-5
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(by_slice.facies[clear], by_patch.facies[clear])


@pytest.mark.parametrize("tile", [2, 5, 100])
def test_dead_traces_get_no_facies_and_pad_their_neighbours(sliced_model, tiles_of, tile):
    tiles_of(tile)
    section, path = section_of(13, 11, dead=(0, 5, 6, 12)), sliced_model(8)
    result = classify(section, load_model(path, "cpu", "slice"), CLIP)
    expected = one_by_one(section, path, 8)
    np.testing.assert_allclose(result.probabilities[:, section.live], expected[:, section.live], atol=1e-6)
    assert np.isnan(result.probabilities[:, ~section.live]).all()
    assert (result.facies[~section.live] == NO_DATA).all()


def test_tiles_without_a_live_trace_are_not_computed(sliced_model, tiles_of, monkeypatch):
    tiles_of(4)
    runs, run = [], sessions.Runner.run
    monkeypatch.setattr(sessions.Runner, "run", lambda runner: runs.append(runner.input.shape) or run(runner))
    section = section_of(30, 8, dead=(0, 1, *range(6, 24)))  # live: 2 ... 5 and 24 ... 29
    classify(section, load_model(sliced_model(8), "cpu"), CLIP)
    assert runs == [(4 + 7, 4 + 7)] * 6  # traces 2 ... 5, 22 ... 25 and 26 ... 29


def test_a_line_without_a_live_trace_has_no_facies(sliced_model):
    result = classify(section_of(4, 5, dead=range(4)), load_model(sliced_model(8), "cpu", "slice"), CLIP)
    assert (result.facies == NO_DATA).all()


@pytest.mark.parametrize("stride", [2, 3, 5, 100])
@pytest.mark.parametrize("tile", [4, 100])
def test_a_stride_is_that_of_the_patch_engine(sliced_model, tiles_of, stride, tile):
    tiles_of(tile)
    section, path = section_of(13, 11, dead=(0, 5, 6)), sliced_model(8)
    result = classify(section, load_model(path, "cpu", "slice"), CLIP, stride=stride)
    expected = by_patches(section, path, stride=stride)
    np.testing.assert_allclose(result.probabilities, expected.probabilities, atol=1e-6)
    np.testing.assert_array_equal(result.facies, expected.facies)


def test_a_window_is_that_of_the_padded_section():
    section = np.arange(1, 31, dtype=np.float32).reshape(5, 6)
    padded = np.pad(section, 10)
    for trace, sample in np.ndindex(14, 15):
        window = np.full((4, 3), np.nan, np.float32)
        copy_window(section, trace - 6, sample - 6, window)
        np.testing.assert_array_equal(window, padded[trace + 4 :, sample + 4 :][:4, :3])


def test_several_threads_get_the_answers_of_one(sliced_model, tiles_of, started):
    tiles_of(16)
    section, model = section_of(40, 30), load_model(sliced_model(8), "cpu")
    alone = classify(section, model, CLIP)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda stride: classify(section, model, CLIP, stride=stride), [1, 4] * 6))
    for result in together[::2]:
        np.testing.assert_array_equal(result.probabilities, alone.probabilities)
    for result in together[1::2]:
        np.testing.assert_array_equal(result.probabilities, together[1].probabilities)
    assert started == ["tiny8.slice.onnx", "tiny8.onnx"]


def test_progress_counts_samples_up_to_all_of_them(sliced_model, tiles_of):
    tiles_of(4)
    calls, section = [], section_of(13, 11, dead=(3,))
    classify(section, load_model(sliced_model(8), "cpu"), CLIP, progress=lambda *call: calls.append(call))
    assert calls == sorted(calls)
    assert calls[-1] == (12 * 11, 12 * 11)


def test_a_cancelled_run_stops_at_the_next_tile_and_leaves_no_thread(sliced_model, tiles_of, monkeypatch):
    tiles_of(1)
    cancel, before = threading.Event(), threading.active_count()
    runs, run = [], sessions.Runner.run
    monkeypatch.setattr(sessions.Runner, "run", lambda runner: cancel.set() or runs.append(0) or run(runner))
    model = load_model(sliced_model(8), "cpu")
    with pytest.raises(Cancelled):
        classify(section_of(13, 11), model, CLIP, cancel=cancel)
    assert 1 <= len(runs) <= model.workers
    assert threading.active_count() == before


def test_a_tile_that_fails_is_a_sentence(sliced_model, monkeypatch):
    class Broken:
        def run_with_iobinding(self, _):
            raise RuntimeError("no memory left")

    runner = load_model(sliced_model(8), "cpu").tile_runner(30, 20)
    monkeypatch.setattr(runner, "_session", Broken())
    with pytest.raises(DeviceError) as error:
        runner.run()
    assert str(error.value) == (
        "A tile of 30 traces and 20 samples failed in onnxruntime, which says “no memory left”. If it is short of "
        "memory, patches take less."
    )


def test_the_quicker_engine_runs_and_only_its_session_starts(sliced_model, started):
    path = sliced_model(8)
    assert load_model(path, "cpu").engine() == "slice"
    assert load_model(path, "cpu", stride=4).engine(4) == "patch"
    assert load_model(path, "cpu", "slice", stride=4).engine(4) == "slice"
    assert load_model(path, "cpu", "patch").engine() == "patch"
    assert load_model(slice_path(path), "cpu", stride=4).engine(4) == "slice"
    assert started == ["tiny8.slice.onnx", "tiny8.onnx", "tiny8.slice.onnx", "tiny8.onnx", "tiny8.slice.onnx"]
    model = load_model(path, "cpu")
    assert [model.engine(stride) for stride in (1, 2, 3, 4, 5)] == ["slice", "slice", "slice", "patch", "patch"]


def test_a_slice_model_runs_alone(sliced_model):
    path = sliced_model(8)
    section, expected = section_of(13, 11), by_patches(section_of(13, 11), path)
    path.unlink()
    model = load_model(slice_path(path), "cpu")
    assert model.card == card_for(8)
    np.testing.assert_array_equal(classify(section, model, CLIP).facies, expected.facies)
    with pytest.raises(ModelError) as error:
        model.runner(1)
    assert str(error.value) == "tiny was loaded without a patch model for the patch engine to run."
    with pytest.raises(ModelError) as error:
        load_model(slice_path(path), "cpu", "patch")
    assert str(error.value) == (
        "tiny8.slice.onnx is a slice model, so the patch engine cannot run it: give it a patch model."
    )


@pytest.mark.parametrize("engine", ["auto", "slice", "patch"])
def test_the_patch_models_card_counts_whatever_the_engine(sliced_model, engine):
    path = sliced_model(8)
    write_card(path, replace(card_for(8), name="renamed"))
    model = load_model(path, "cpu", engine)
    assert (model.card.name, model.path) == ("renamed", path)


def test_an_engine_that_does_not_exist(tiny_model):
    with pytest.raises(OptionError) as error:
        load_model(tiny_model(8), "cpu", "best")
    assert str(error.value) == "There is no engine 'best': use auto, slice or patch."


def test_the_slice_engine_without_a_slice_model(tiny_model):
    path = tiny_model(8)
    with pytest.raises(ModelNotFoundError) as error:
        load_model(path, "cpu", "slice")
    assert str(error.value) == (
        f"There is no slice model tiny8.slice.onnx beside tiny8.onnx: make it with `trainer slice {path}`."
    )
    assert load_model(path, "cpu").no_slice_reason == ""


@pytest.mark.parametrize("change", [{"weights_sha256": "f" * 64}, {"precision": "int8"}, {"weights_sha256": ""}, None])
def test_a_slice_model_of_other_weights_does_not_run(sliced_model, change, started):
    path = sliced_model(8)
    if change is None:
        slice_path(path).write_bytes(b"half a file")
        reason = "tiny8.slice.onnx cannot be read, and is damaged perhaps"
    else:
        write_card(slice_path(path), replace(card_for(8), **change))
        reason = "tiny8.slice.onnx is no slice model of the weights in tiny8.onnx"
    reason = f"{reason}: make it again with `trainer slice {path}`."
    model = load_model(path, "cpu")
    assert (model.engine(), model.no_slice_reason, started) == ("patch", reason, ["tiny8.onnx"])
    with pytest.raises(ModelError) as error:
        load_model(path, "cpu", "slice")
    assert str(error.value) == f"The slice engine cannot run tiny8.onnx: {reason}"


def test_two_models_that_do_not_say_their_weights_are_not_taken_for_the_same(sliced_model):
    path = sliced_model(8)
    for file in (path, slice_path(path)):
        write_card(file, replace(read_card(file), weights_sha256=""))
    assert load_model(path, "cpu").engine() == "patch"


def test_a_slice_model_that_breaks_its_contract(tmp_path):
    graph = helper.make_graph(
        [helper.make_node("Identity", ["section"], ["facies"])],
        "broken",
        [helper.make_tensor_value_info("section", TensorProto.FLOAT, ["trace", 20])],
        [helper.make_tensor_value_info("facies", TensorProto.FLOAT, ["trace", 20])],
    )
    path = tmp_path / "broken.slice.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    write_card(path, card_for(8))
    with pytest.raises(ModelError) as error:
        load_model(path, "cpu")
    assert str(error.value) == (
        "broken.slice.onnx is not a slice model: it should take `section` float32 [trace, sample] of any size and, "
        "optional, `amplitude_clip` float32 and `padding` int64 [4], and give `facies` int8 [trace, sample] and "
        "`probabilities` float32 [3, trace, sample], but it takes {'section': ('tensor(float)', ['free', 20])} and "
        "gives {'facies': ('tensor(float)', ['free', 20])}."
    )


def test_the_tile_follows_the_device_and_the_patch(tiny_model):
    assert Model(tiny_model(8), "cpu").tile_size == sessions.CPU_TILE
    large = Model(tiny_model(200), "cpu")
    assert (large.tile_size, large.tile_workers) == (400, 1)


def test_slices_do_without_numba(sliced_model):
    """It takes half a second to start, of the few that a line takes."""
    program = (
        "import sys, infer, numpy as np\n"
        "from infer.section import Section\n"
        "numbers = np.arange(9, dtype=np.int32)\n"
        "section = Section('inline', 1, np.ones((9, 7), np.float32), numbers, numbers, np.arange(7.0), numbers > -1)\n"
        "infer.classify(section, infer.load_model(sys.argv[1], 'cpu'), 1.0)\n"
        "print('numba' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, sliced_model(8)], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"
