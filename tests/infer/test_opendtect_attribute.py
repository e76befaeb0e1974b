"""OpendTect's External Attribute plugin, its part played here byte by byte."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import threading
import urllib.parse

import numpy as np
import pytest
from typer.testing import CliRunner

from infer import Section, classify, load_model, open_survey
from infer.cli import app
from infer.demo import write_demo
from infer.errors import DeviceError, OptionError, OutputError
from infer.hosts import opendtect_attribute
from infer.hosts.opendtect_attribute import Attribute, parameters, write_attribute
from infer.models import find_model
from infer.sessions import cuda_obstacle

from ..conftest import ROOT

CLIP = 50.0
DEMO_LINES = {"inline": 420, "crossline": 500}
# All that the plugin leaves of its environment (plugins/ExternalAttrib/procinst.cc), and where this clone is.
ENVIRONMENT = {"PATH": os.defpath, "PYTHONPATH": str(ROOT)}
if sys.platform == "win32":
    ENVIRONMENT = {**os.environ, **ENVIRONMENT}


@pytest.fixture
def script(sliced_model, tmp_path):
    def write(along: str = "inline", size: int = 8):
        path = tmp_path / "facies.py"
        write_attribute(path, str(sliced_model(size)), along, "cpu")
        return path

    return write


def get_parameters(script) -> dict:
    done = subprocess.run(
        [sys.executable, script, "-g"], capture_output=True, check=True, text=True, cwd=script.parent, env=ENVIRONMENT
    )
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
    one in the middle is handed out again. A missing trace inside the survey is infinite here."""

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
                there = i in inside[0] and x in inside[1] and not np.isinf(self.survey[i, x]).all()
                trace = self.survey[i, x] if there else self.survey[inline, crossline]
                padded = np.pad(trace, 64)[64 + low : 64 + high]
                block.append(np.where(padded >= 1e30, 0, padded))
        head = struct.pack("=4i", high - low, first, inline, crossline)
        return head + np.stack(block).astype(np.float32).tobytes()

    def ask(self, attribute: Attribute, inline: int, crossline: int) -> np.ndarray:
        """The values of a whole trace, without a process between."""
        samples = self.survey.shape[2]
        block = self.trace(inline, crossline, 0, samples)[16:]
        window = np.frombuffer(block, np.float32).reshape(-1, samples + self.margin[1] - self.margin[0])
        return self.values(attribute.answer(window).tobytes(), 0, samples)

    def values(self, answer: bytes, first: int, last: int) -> np.ndarray:
        """`[output, sample]` without the margin."""
        values = np.frombuffer(answer, np.float32).reshape(3, last - first + self.margin[1] - self.margin[0])
        return values[:, -self.margin[0] : -self.margin[0] + last - first]


def attribute_of(model, survey, along="inline") -> tuple[Attribute, Host]:
    """Both sides in this process."""
    params = parameters(str(model), along)
    params["Select"]["Selection"], params["Par_0"]["Value"] = 1, CLIP
    return Attribute(load_model(model, "cpu"), along, params), Host(survey, params)


@pytest.fixture
def runs(monkeypatch) -> list[int]:
    """How many traces each run of the model classified."""
    runs = []
    real = opendtect_attribute.probabilities_at
    monkeypatch.setattr(
        opendtect_attribute, "probabilities_at", lambda *given: (runs.append(len(given[1])), real(*given))[1]
    )
    return runs


def compute(script, params: dict, clip: float = CLIP) -> subprocess.Popen:
    """The script at work, with what the plugin hands back of its parameters: the values alone."""
    kept = {key: {"Value": params[key]["Value"]} for key in ("ZSampMargin", "StepOut")}
    kept |= {"Par_0": {"Value": clip}, "Select": {"Selection": params["Select"]["Selection"]}}
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    chosen = urllib.parse.quote(json.dumps(params | kept))
    return subprocess.Popen([sys.executable, script, "-c", chosen], **pipes, cwd=script.parent, env=ENVIRONMENT)


def expected_of(script_model, survey, along, number, clip=CLIP):
    """Facies, confidence and the second facies' probability of a line, as the host has them."""
    amplitude = survey[number] if along == "inline" else survey[:, number]
    result = classify(Section.from_amplitude(amplitude, along), load_model(script_model, "cpu"), clip)
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


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Two lines of the demo survey by their kind, and its clip."""
    survey = open_survey(write_demo(tmp_path_factory.mktemp("demo")).survey)
    lines = {along: survey.read_line(along, number) for along, number in DEMO_LINES.items()}
    return lines, survey.amplitude_clip


@pytest.mark.parametrize("lock_step", [True, False])
@pytest.mark.parametrize("along", DEMO_LINES)
def test_a_part_of_the_demo_survey_has_the_facies_of_the_whole_line(demo, tmp_path, along, lock_step):
    """Its first traces, dead ones among them or nothing else, and its last."""
    section, clip = demo[0][along], demo[1]
    path = tmp_path / "facies.py"
    write_attribute(path, "demo", along, "cpu")
    params = get_parameters(path)
    params["Select"]["Selection"] = 1
    survey = section.amplitude[None] if along == "inline" else section.amplitude[:, None]
    (traces, samples), host = section.shape, Host(survey, params)
    order = [*range(40), *range(traces - 100, traces)]
    asked = [host.trace(*((0, k) if along == "inline" else (k, 0)), 0, samples) for k in order]
    with compute(path, params, clip) as process:
        if lock_step:
            process.stdin.write(host.seis_info())
            answers = []
            for block in asked:
                process.stdin.write(block)
                process.stdin.flush()
                answers.append(process.stdout.read(3 * 4 * (samples + 63)))
            left, said = process.communicate()
        else:
            left, said = process.communicate(host.seis_info() + b"".join(asked))
            answers, left = np.frombuffer(left, np.float32).reshape(len(order), -1), b""
    assert (left, said, process.returncode) == (b"", b"", 0)
    found = np.stack([host.values(bytes(answer), 0, samples) for answer in answers], axis=1)
    expected = expected_of(find_model("demo"), survey, along, 0, clip)[:, order]
    assert (expected[0] == np.float32(1e30)).any()
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1:], expected[1:], atol=1e-5)


def test_missing_traces_are_silence_and_dead_ones_undefined(script, sliced_model, survey):
    """Holes in a line, a dead trace of another value than zero, and a NaN beside a hole, which no host replaces."""
    survey[2, 11:14] = np.inf
    survey[2, 30] = 7
    survey[2, 9, 3] = np.nan
    attribute, host = attribute_of(sliced_model(8), survey)
    survey[2, 4, 7] = 0
    order = [x for x in range(90) if x not in (11, 12, 13)]
    found = np.stack([host.ask(attribute, 2, x) for x in order], axis=1)
    expected = expected_of(sliced_model(8), survey, "inline", 2)[:, order]
    assert (expected[0] == np.float32(1e30)).all(axis=1).sum() == 2
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1:], expected[1:], atol=1e-5)


@pytest.mark.parametrize("offset", range(-5, 6))
def test_an_answer_is_kept_for_its_own_traces_alone(sliced_model, survey, offset):
    """Not where one of them has changed; that one on either side of a patch has, does not matter."""
    attribute, host = attribute_of(sliced_model(9), survey)
    before = host.ask(attribute, 2, 20)
    survey[2, 20 + offset] *= -1
    again, fresh = host.ask(attribute, 2, 20), host.ask(attribute_of(sliced_model(9), survey)[0], 2, 20)
    np.testing.assert_array_equal(again, fresh)
    assert np.array_equal(again, before) == (offset in (-5, 5))


def test_nothing_else_reaches_the_host(script, survey):
    """Not what Python prints, nor what a library in C writes."""
    path = script()
    params = get_parameters(path)
    host = Host(survey, params)
    asked = host.seis_info() + host.trace(2, 50, 0, 21)
    expected, _ = compute(path, params).communicate(asked)
    noisy = path.with_name("noisy.py")
    noisy.write_text(
        "import os\nimport infer.hosts.opendtect_attribute as attribute\nload = attribute.load_model\n"
        "attribute.load_model = lambda *given: (print('noise'), os.write(1, b'more'), load(*given))[-1]\n"
        + path.read_text()
    )
    answer, said = compute(noisy, params).communicate(asked)
    assert answer == expected
    assert sorted(said.split()) == [b"more", b"noise"] or sorted(said.split()) == [b"morenoise"]


def test_parameters(script):
    assert get_parameters(script()) == {
        "Inputs": ["Seismic"],
        "Output": ["Facies", "Confidence", "Probability"],
        "ZSampMargin": {"Value": [-4, 3], "Minimum": [-4, 3], "Hidden": False},
        "StepOut": {"Value": [0, 10], "Hidden": True},
        "Par_0": {"Name": "Amplitude clip", "Value": 1.0},
        "Select": {"Name": "Probability of", "Values": ["layers", "salt", "else"], "Selection": 0},
        "Parallel": False,
    }


@pytest.mark.parametrize("sliced", [True, False])
def test_work_is_shared_among_neighbours(sliced_model, tiny_model, survey, runs, sliced):
    attribute, host = attribute_of(sliced_model(8) if sliced else tiny_model(8), survey)
    for _ in range(2):
        for x in range(1, 90):
            host.ask(attribute, 2, x)
    if sliced:
        assert runs == [8, 8, 8, 8, 7, 8, 8, 8, 8, 8, 8, 1]  # nothing for the dead trace, nor beyond the edge
    else:
        assert runs == [1] * 88  # a dead trace needs none, and the second time round all are known


def test_work_is_shared_where_a_volume_comes_inline_by_inline(sliced_model, survey, runs, monkeypatch):
    """Along crosslines: the answers ahead of all of them fit into memory if those that were asked for make room."""
    volume = survey.transpose(1, 0, 2)[:32].copy()  # 32 inlines, 5 crosslines
    for crossline in range(5):
        volume[:crossline, crossline] = 0  # so that they do not run out of answers at the same inline
    attribute, host = attribute_of(sliced_model(8), volume, "crossline")
    monkeypatch.setattr(opendtect_attribute, "KEPT_BYTES", 5 * 8 * 3 * 4 * 28)
    for inline in range(32):
        for crossline in range(5):
            host.ask(attribute, inline, crossline)
    assert sum(runs) == 32 + 31 + 30 + 29 + 28  # each live trace once
    assert len(runs) == 5 * 4


def test_answers_are_bounded(sliced_model, survey, monkeypatch):
    attribute, host = attribute_of(sliced_model(8), survey)
    monkeypatch.setattr(opendtect_attribute, "KEPT_BYTES", 40 * 3 * 4 * 28)
    for inline in range(5):
        for x in range(90):
            host.ask(attribute, inline, x)
    assert len(attribute._answers) <= 40
    assert attribute._kept == sum(answer.nbytes for answer in attribute._answers.values())


def test_what_is_refused(script, sliced_model, tmp_path, survey):
    with pytest.raises(OptionError) as caught:
        write_attribute(tmp_path / "facies.py", "demo", "time")
    assert str(caught.value) == "A section is an inline or a crossline, not 'time'."
    with pytest.raises(OutputError) as caught:
        write_attribute(tmp_path / "facies.txt", "demo")
    assert str(caught.value) == (
        f"{tmp_path / 'facies.txt'} cannot be written: the attribute is a .py in a folder that is there."
    )
    if reason := cuda_obstacle():
        with pytest.raises(DeviceError) as caught:
            write_attribute(tmp_path / "facies.py", "demo", device="cuda")
        assert str(caught.value) == (f"CUDA device 0 cannot be used: {reason} `infer doctor` shows what can run here.")
    assert [*tmp_path.glob("*.py")] == []
    path = script()
    params = get_parameters(path)
    small = Host(survey, params | {"StepOut": {"Value": [0, 3]}})
    _, said = compute(path, params).communicate(small.seis_info())
    assert said.decode().strip() == (
        "This attribute takes windows of one inline and 9 traces along it and more, and OpendTect hands out 1 inlines "
        "and 7 crosslines."
    )
    for changed, sentence in [
        (
            {"ZSampMargin": {"Value": [4, 3]}},  # what the plugin's window makes of a hidden one
            "The Z window has to reach 4 samples before and 3 after for patches of 8 samples, and it reaches -4 before "
            "and 3 after.",
        ),
        ({"Select": {"Selection": 3}}, "tiny has no facies with the number 3."),
        ({"Par_0": {"Value": 1e30}}, "There is no amplitude clip: set it to the survey's, which `infer scan` prints."),
        ({"Par_0": {}}, "OpendTect gave this script no amplitude clip, no facies or no Z window."),
    ]:
        with pytest.raises(OptionError) as caught:
            Attribute(load_model(sliced_model(8), "cpu"), "inline", params | changed)
        assert str(caught.value) == sentence
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, env=ENVIRONMENT)
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
    assert f"run(sys.argv[1:], model={str(find_model('demo'))!r}, along='crossline', device='auto')" in out.read_text()
