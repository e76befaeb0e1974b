"""Whole sections against the model applied one by one to padded patches."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import onnxruntime as ort
import pytest

from infer.classification import classify
from infer.errors import Cancelled, OptionError
from infer.models import load_model
from infer.section import NO_DATA, Section
from infer.sessions import Model

from .conftest import FACIES

CLIP = 1.5


def section_of(n_traces, n_samples, dead=()):
    rng = np.random.default_rng(7)
    amplitude = rng.standard_normal((n_traces, n_samples)).astype(np.float32)
    live = np.ones(n_traces, bool)
    live[list(dead)] = False
    amplitude[~live] = 0
    return Section(
        "crossline",
        500,
        amplitude,
        np.arange(100, 100 + n_traces, dtype=np.int32),
        np.full(n_traces, 500, np.int32),
        4.0 + 4.0 * np.arange(n_samples),
        live,
    )


def one_by_one(section, path, size, facies=3):
    """Probabilities `[facies, trace, sample]` the notebook's way: pad, slice, run a batch of one."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # onnxruntime splits its sums among threads, and then rounds otherwise
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    padded = np.pad(np.clip(section.amplitude / np.float32(CLIP), -1, 1), size)
    first = size - size // 2
    probabilities = np.empty((facies, *section.shape), np.float32)
    for i, j in np.ndindex(section.shape):
        patch = padded[first + i : first + i + size, first + j : first + j + size]
        probabilities[:, i, j] = session.run(None, {"patches": patch[None]})[0][0]
    return probabilities


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("batch_size", [None, 1, 7, 10_000])
def test_every_sample_equals_the_model_on_its_own_padded_patch(tiny_model, size, batch_size):
    section = section_of(13, 11)
    result = classify(section, Model(tiny_model(size), "cpu"), CLIP, batch_size=batch_size)
    expected = one_by_one(section, tiny_model(size), size)
    np.testing.assert_allclose(result.probabilities, expected, atol=1e-6)
    np.testing.assert_array_equal(result.facies, expected.argmax(axis=0))
    np.testing.assert_allclose(result.confidence, expected.max(axis=0), atol=1e-6)
    assert result.facies.dtype == np.int8
    assert result.facies_names == FACIES


def test_the_committed_model_on_every_sample_edges_and_corners_included():
    section, model = section_of(75, 70, dead=(20, 74)), load_model("waldeland", "cpu")
    result = classify(section, model, CLIP)
    expected = one_by_one(section, model.path, 64, facies=9)
    np.testing.assert_allclose(result.probabilities[:, section.live], expected[:, section.live], atol=1e-6)
    np.testing.assert_array_equal(result.facies[section.live], expected[:, section.live].argmax(axis=0))


def test_dead_traces_get_no_facies_and_pad_their_neighbours(tiny_model):
    section = section_of(13, 11, dead=(0, 5, 6, 12))
    result = classify(section, Model(tiny_model(8), "cpu"), CLIP)
    expected = one_by_one(section, tiny_model(8), 8)
    np.testing.assert_allclose(result.probabilities[:, section.live], expected[:, section.live], atol=1e-6)
    assert np.isnan(result.probabilities[:, ~section.live]).all()
    assert (result.facies[~section.live] == NO_DATA).all()
    assert np.isnan(result.confidence[~section.live]).all()


def test_a_line_without_a_live_trace_has_no_facies(tiny_model):
    result = classify(section_of(4, 5, dead=range(4)), Model(tiny_model(8), "cpu"), CLIP)
    assert (result.facies == NO_DATA).all()


@pytest.mark.parametrize("stride", [2, 3, 5, 100])
@pytest.mark.parametrize("dead", [(), (6,), (0, 5, 6, 12)])
def test_a_stride_interpolates_probabilities_within_each_live_run(tiny_model, stride, dead):
    section = section_of(13, 11, dead)
    model = Model(tiny_model(8), "cpu")
    full = classify(section, model, CLIP).probabilities
    result = classify(section, model, CLIP, stride=stride)

    expected = np.full_like(full, np.nan)
    gaps = np.flatnonzero(~section.live)
    runs = [run[section.live[run]] for run in np.split(np.arange(13), gaps)]
    samples = sorted({*range(0, 11, stride), 10})
    for run in (run for run in runs if run.size):
        traces = sorted({*run[::stride], run[-1]})
        for facies in range(len(full)):
            lines = [np.interp(np.arange(11), samples, full[facies, i, samples]) for i in traces]
            expected[facies, run] = np.array([np.interp(run, traces, column) for column in np.transpose(lines)]).T
    np.testing.assert_allclose(result.probabilities, expected, atol=1e-6)
    live = section.live
    np.testing.assert_array_equal(result.facies[live], result.probabilities[:, live].argmax(axis=0))
    np.testing.assert_allclose(result.probabilities[:, live].sum(axis=0), 1, atol=1e-5)


def test_samples_that_are_no_amplitudes_count_as_silence(tiny_model):
    section, model = section_of(13, 11), Model(tiny_model(8), "cpu")
    section.amplitude[3, 4] = 0
    silent = classify(section, model, CLIP)
    section.amplitude[3, 4] = np.nan
    np.testing.assert_array_equal(classify(section, model, CLIP).probabilities, silent.probabilities)


def test_several_threads_get_the_answers_of_one(tiny_model):
    section, model = section_of(40, 30), Model(tiny_model(8), "cpu")
    alone = classify(section, model, CLIP)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda _: classify(section, model, CLIP), range(12)))
    for result in together:
        np.testing.assert_array_equal(result.probabilities, alone.probabilities)


def test_progress_counts_samples_up_to_all_of_them(tiny_model):
    calls = []
    classify(section_of(13, 11), Model(tiny_model(8), "cpu"), CLIP, progress=lambda *call: calls.append(call))
    assert calls == sorted(calls)
    assert calls[-1] == (13 * 11, 13 * 11)


def test_progress_runs_in_the_calling_thread(tiny_model):
    threads = set()
    classify(
        section_of(9, 9), Model(tiny_model(8), "cpu"), CLIP, progress=lambda *_: threads.add(threading.get_ident())
    )
    assert threads == {threading.get_ident()}


def test_a_cancelled_run_stops_and_leaves_no_thread(tiny_model):
    cancel, before = threading.Event(), threading.active_count()
    cancel.set()
    with pytest.raises(Cancelled):
        classify(section_of(13, 11), Model(tiny_model(8), "cpu"), CLIP, cancel=cancel)
    assert threading.active_count() == before


def test_a_cancelled_run_stops_where_there_is_no_live_trace(tiny_model):
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        classify(section_of(4, 5, dead=range(4)), Model(tiny_model(8), "cpu"), CLIP, cancel=cancel)


def test_what_progress_raises_comes_out_and_leaves_no_thread(tiny_model):
    def interrupted(*_):
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        classify(section_of(200, 200), Model(tiny_model(8), "cpu"), CLIP, batch_size=1, progress=interrupted)
    assert threading.active_count() == before


def test_what_a_batch_raises_comes_out(tiny_model, monkeypatch):
    model = Model(tiny_model(8), "cpu")

    def broken(_):
        raise MemoryError("no memory for a batch")

    monkeypatch.setattr(model, "runner", broken)
    with pytest.raises(MemoryError, match="no memory for a batch"):
        classify(section_of(5, 5), model, CLIP)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"stride": 0}, "The stride counts traces and samples, so a stride of 0 makes no sense."),
        ({"stride": 2.0}, "The stride counts traces and samples, so a stride of 2.0 makes no sense."),
        ({"stride": np.nan}, "The stride counts traces and samples, so a stride of nan makes no sense."),
        ({"batch_size": 0}, "A batch holds at least one patch, so a batch size of 0 makes no sense."),
        ({"amplitude_clip": 0.0}, "The amplitude clip must be a positive number of 32 bits, not 0."),
    ],
)
def test_options_out_of_range(tiny_model, options, sentence):
    with pytest.raises(OptionError) as error:
        classify(
            **{"section": section_of(3, 3), "model": Model(tiny_model(8), "cpu"), "amplitude_clip": CLIP, **options}
        )
    assert str(error.value) == sentence


def test_the_result_keeps_its_section_and_clip(tiny_model):
    section = replace(section_of(3, 4), silenced=2)
    result = classify(section, Model(tiny_model(8), "cpu"), CLIP)
    assert result.section is section
    assert result.amplitude_clip == CLIP
