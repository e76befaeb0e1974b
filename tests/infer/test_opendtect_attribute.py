"""OpendTect's External Attribute plugin, its part played here byte by byte."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import threading
import urllib.parse

import numpy as np
import pytest
from typer.testing import CliRunner

from infer import Section, classify, load_model
from infer.cli import app
from infer.errors import OptionError, OutputError
from infer.hosts import opendtect_attribute
from infer.hosts.opendtect_attribute import Attribute, parameters, write_attribute

CLIP = 50.0


@pytest.fixture
def script(sliced_model, tmp_path):
    def write(along: str = "inline", size: int = 8):
        path = tmp_path / "facies.py"
        write_attribute(path, str(sliced_model(size)), along, "cpu")
        return path

    return write


def get_parameters(script) -> dict:
    done = subprocess.run([sys.executable, script, "-g"], capture_output=True, check=True, text=True)
    assert done.stderr == ""
    return json.loads(urllib.parse.unquote(done.stdout))


@pytest.fixture
def survey() -> np.ndarray:
    """Amplitudes `[inline, crossline, sample]`, some undefined; one trace is dead."""
    amplitude = np.random.default_rng(3).normal(0, CLIP / 2, (5, 90, 21)).astype(np.float32)
    amplitude[2, 40] = 0
    amplitude[2, 4, 7] = 1e30
    return amplitude


class Host:
    """The plugin's own doing (plugins/ExternalAttrib/externalattrib.cc): undefined is 0, and for a missing trace the
    one in the middle is handed out again."""

    def __init__(self, survey: np.ndarray, params: dict) -> None:
        self.survey, self.step = survey, params["StepOut"]["Value"]
        self.margin = params["ZSampMargin"]["Value"]

    def seis_info(self) -> bytes:
        inlines, crosslines = (2 * step + 1 for step in self.step)
        return struct.pack("=5i5f", inlines * crosslines, 1, 3, inlines, crosslines, 0.004, 25, 25, 1, 1)

    def trace(self, inline: int, crossline: int, first: int, last: int) -> bytes:
        """TrcInfo and the block of samples from `first` to before `last`, and the margin around them."""
        low, high = first + self.margin[0], last + self.margin[1]
        inside = range(self.survey.shape[0]), range(self.survey.shape[1])
        block = []
        for i in range(inline - self.step[0], inline + self.step[0] + 1):
            for x in range(crossline - self.step[1], crossline + self.step[1] + 1):
                there = i in inside[0] and x in inside[1]
                trace = self.survey[i, x] if there else self.survey[inline, crossline]
                padded = np.pad(trace, 64)[64 + low : 64 + high]
                block.append(np.where(np.abs(padded) < 1e30, padded, 0))
        head = struct.pack("=4i", high - low, first, inline, crossline)
        return head + np.stack(block).astype(np.float32).tobytes()

    def values(self, answer: bytes, first: int, last: int) -> np.ndarray:
        """`[output, sample]` without the margin."""
        values = np.frombuffer(answer, np.float32).reshape(3, last - first + self.margin[1] - self.margin[0])
        return values[:, -self.margin[0] : -self.margin[0] + last - first]


def compute(script, params: dict) -> subprocess.Popen:
    chosen = urllib.parse.quote(json.dumps(params | {"Par_0": {"Name": "Amplitude clip", "Value": CLIP}}))
    return subprocess.Popen(
        [sys.executable, script, "-c", chosen], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def expected_of(script_model, survey, along, number):
    """Facies, confidence and the second facies' probability of a line, as the host has them."""
    amplitude = survey[number] if along == "inline" else survey[:, number]
    result = classify(Section.from_amplitude(amplitude, along), load_model(script_model, "cpu"), CLIP)
    values = np.stack([result.facies, result.confidence, result.probabilities[1]]).astype(np.float32)
    values[:, ~result.section.live] = 1e30
    return values


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("size", [8, 9])
def test_an_inline_is_that_of_infer(script, sliced_model, survey, at_once, size):
    path = script(size=size)
    params = get_parameters(path)
    params["Select"]["Selection"] = 1
    host, samples = Host(survey, params), survey.shape[2]
    process = compute(path, params)
    answer_bytes = 3 * 4 * (samples + host.margin[1] - host.margin[0])
    order = [*range(10), *range(60, 90), *range(10, 60)]  # the host may come along as it likes
    found = np.empty((3, survey.shape[1], samples), np.float32)
    writing = threading.Thread(
        target=lambda: process.stdin.write(
            host.seis_info() + b"".join(host.trace(2, x, 0, samples) for x in order if at_once)
        )
    )
    writing.start()
    for x in order:
        if not at_once:
            writing.join()
            process.stdin.write(host.trace(2, x, 0, samples))
            process.stdin.flush()
        found[:, x] = host.values(process.stdout.read(answer_bytes), 0, samples)
    writing.join()
    left, said = process.communicate()
    assert (left, said, process.returncode) == (b"", b"", 0)
    expected = expected_of(sliced_model(size), survey, "inline", 2)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1:], expected[1:], atol=1e-5)


def test_part_of_the_times_with_margins_is_that_part_of_the_line(script, sliced_model, survey):
    path = script()
    params = get_parameters(path)
    params["Select"]["Selection"] = 1
    host = Host(survey, params)
    asked = host.seis_info() + b"".join(host.trace(2, x, 6, 13) for x in range(90))
    answers, said = compute(path, params).communicate(asked)
    assert said == b""
    answers = np.frombuffer(answers, np.float32).reshape(90, -1)
    found = np.stack([host.values(answer.tobytes(), 6, 13) for answer in answers], axis=1)
    np.testing.assert_allclose(found, expected_of(sliced_model(8), survey, "inline", 2)[..., 6:13], atol=1e-5)


def test_along_a_crossline(script, sliced_model, survey):
    path = script("crossline")
    params = get_parameters(path)
    params["Select"]["Selection"] = 1
    survey = survey.transpose(1, 0, 2).copy()
    host, samples = Host(survey, params), survey.shape[2]
    asked = host.seis_info() + b"".join(host.trace(i, 2, 0, samples) for i in range(90))
    answers, said = compute(path, params).communicate(asked)
    assert said == b""
    answers = np.frombuffer(answers, np.float32).reshape(90, -1)
    found = np.stack([host.values(answer.tobytes(), 0, samples) for answer in answers], axis=1)
    np.testing.assert_allclose(found, expected_of(sliced_model(8), survey, "crossline", 2), atol=1e-5)


def test_parameters(script):
    step = 4 + opendtect_attribute.AHEAD
    assert get_parameters(script()) == {
        "Inputs": ["Seismic"],
        "Output": ["Facies", "Confidence", "Probability"],
        "ZSampMargin": {"Value": [-4, 3], "Hidden": True},
        "StepOut": {"Value": [0, step], "Hidden": True},
        "Par_0": {"Name": "Amplitude clip", "Value": 1.0},
        "Select": {"Name": "Probability of", "Values": ["layers", "salt", "else"], "Selection": 0},
        "Parallel": False,
    }


@pytest.mark.parametrize("sliced", [True, False])
def test_work_is_shared_among_neighbours(sliced_model, tiny_model, survey, monkeypatch, sliced):
    """Every trace by itself would be classified 90 times."""
    runs = []
    real = opendtect_attribute.probabilities_at
    monkeypatch.setattr(
        opendtect_attribute, "probabilities_at", lambda *given: (runs.append(len(given[1])), real(*given))[1]
    )
    path = str(sliced_model(8) if sliced else tiny_model(8))
    params = parameters(path, "inline")
    attribute = Attribute(load_model(path, "cpu"), "inline", params | {"Par_0": {"Value": CLIP}})
    host = Host(survey, params)
    for _ in range(2):
        for x in range(90):
            block = host.trace(2, x, 0, 21)[16:]
            attribute.answer(np.frombuffer(block, np.float32).reshape(73, -1))
    if sliced:
        assert runs == [34, 34, 34]  # the trace in the middle and 33 ahead
    else:
        assert runs == [1] * 89  # a dead trace needs none, and the second time round all are known


def test_answers_are_bounded(sliced_model, survey, monkeypatch):
    path = str(sliced_model(8))
    params = parameters(path, "inline")
    attribute = Attribute(load_model(path, "cpu"), "inline", params | {"Par_0": {"Value": CLIP}})
    host = Host(survey, params)
    monkeypatch.setattr(opendtect_attribute, "KEPT_BYTES", 40 * 3 * 4 * 28)
    for inline in range(5):
        for x in range(90):
            attribute.answer(np.frombuffer(host.trace(inline, x, 0, 21)[16:], np.float32).reshape(73, -1))
    assert len(attribute._answers) <= 40
    assert attribute._kept == sum(answer.nbytes for answer in attribute._answers.values())


def test_what_is_refused(script, tmp_path, survey):
    with pytest.raises(OptionError) as caught:
        write_attribute(tmp_path / "facies.py", "demo", "time")
    assert str(caught.value) == "A section is an inline or a crossline, not 'time'."
    with pytest.raises(OutputError) as caught:
        write_attribute(tmp_path / "facies.txt", "demo")
    assert str(caught.value) == (
        f"{tmp_path / 'facies.txt'} cannot be written: the attribute is a .py in a folder that is there."
    )
    path = script()
    params = get_parameters(path)
    small = Host(survey, params | {"StepOut": {"Value": [0, 3]}})
    _, said = compute(path, params).communicate(small.seis_info())
    assert said.decode().strip() == (
        "This attribute takes windows of one inline and 9 traces along it and more, and OpendTect hands out 1 inlines "
        "and 7 crosslines."
    )
    done = subprocess.run([sys.executable, path], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.strip() == (
        "OpendTect's External Attribute plugin runs this script, with -g or -c and parameters."
    )


def test_without_infer_it_says_so(script):
    done = subprocess.run([sys.executable, "-I", "-S", script(), "-g"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.strip() == (
        "This script needs the Python that `infer` is installed in: choose it as the attribute's interpreter."
    )


def test_the_command(tmp_path):
    out = tmp_path / "facies.py"
    done = CliRunner().invoke(app, ["host", "opendtect-attribute", str(out), "--model", "demo", "--along", "crossline"])
    assert (done.exit_code, done.stdout) == (0, f"Wrote {out}\n")
    assert "run(sys.argv[1:], model='demo', along='crossline', device='auto')" in out.read_text()
