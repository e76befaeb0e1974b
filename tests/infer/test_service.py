"""The service as its clients see it: tritonclient, and raw bytes over a socket, against a server on loopback."""

from __future__ import annotations

import contextlib
import errno
import gzip
import http.client
import inspect
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from infer import Section, classify, load_model, open_survey
from infer.demo import write_demo
from infer.errors import DependencyError, DeviceError, OptionError
from infer.models import find_model, slice_path
from infer.section import NO_DATA

pytest.importorskip("uvicorn")
pytest.importorskip("starlette")
client = pytest.importorskip("tritonclient.http")

from infer.hosts import service  # noqa: E402 - where its packages are
from infer.hosts.offered import offer  # noqa: E402

JSON_SIZE = "Inference-Header-Content-Length"
MB = 1_000_000
INFER = "/v2/models/demo_slice/infer"
NOISE = np.random.default_rng(0).normal(0, 500, (40, 36)).astype(np.float32)


@contextlib.contextmanager
def running(app):
    """A server of its own for an application; gives its port."""
    with service.listen("127.0.0.1", 0) as listening:
        server = service.server(app)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def demo():
    return offer(["demo"], "cpu")


@pytest.fixture(scope="module")
def port(demo):
    with running(service.create_app(demo, max_request_mb=2)) as port:
        yield port


@pytest.fixture
def triton(port):
    with client.InferenceServerClient(f"127.0.0.1:{port}") as connected:
        yield connected


@pytest.fixture(scope="module")
def crossline(tmp_path_factory):
    """Crossline 500 of the demo survey, its clip, and what `infer slice` makes of it."""
    survey = open_survey(write_demo(tmp_path_factory.mktemp("demo")).survey)
    line = survey.read_crossline(500)
    assert not line.live.all()
    return line, survey.amplitude_clip, classify(line, load_model("demo", "cpu"), survey.amplitude_clip)


def input_of(name, array, datatype="FP32", binary=True):
    one = client.InferInput(name, array.shape, datatype)
    one.set_data_from_numpy(array, binary_data=binary)
    return one


def clip_of(clip):
    return input_of("amplitude_clip", np.array([clip], np.float32))


def post(port, path, body=b"", headers=None):
    """Status, headers and JSON (or bytes) of a raw request's response."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", path, body, headers or {})
        response = connection.getresponse()
        content = response.read()
        is_json = response.headers["Content-Type"] == "application/json"
        return response.status, response.headers, json.loads(content) if is_json else content
    finally:
        connection.close()


def get(port, path, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.headers, json.loads(response.read())
    finally:
        connection.close()


def message(**changes):
    """A request as JSON: a section of 2 traces of 3 samples, with changes to its one input."""
    section = {"name": "section", "shape": [2, 3], "datatype": "FP32", "data": [1, 2, 3, 4, 5, 6]} | changes
    return {"inputs": [{key: value for key, value in section.items() if value is not ...}]}


def binary(parts, **changes):
    """A request with raw bytes, and its headers."""
    head = json.dumps(message(data=..., parameters={"binary_data_size": 24}, **changes)).encode()
    return head + parts, {JSON_SIZE: str(len(head))}


# What is right.


def test_health_and_metadata(triton):
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready("demo")
    assert triton.is_model_ready("demo_slice", "1")
    assert not triton.is_model_ready("demo_slice", "2")
    assert not triton.is_model_ready("salt")
    assert triton.get_server_metadata()["extensions"] == ["binary_tensor_data"]


@pytest.mark.parametrize("name", ["demo", "demo_slice"])
def test_metadata_is_what_the_file_has(triton, name):
    path = find_model("demo")
    graph = onnx.load(path if name == "demo" else slice_path(path)).graph
    datatypes = {onnx.TensorProto.FLOAT: "FP32", onnx.TensorProto.INT8: "INT8"}

    def described(values):
        return [
            {
                "name": value.name,
                "datatype": datatypes[value.type.tensor_type.elem_type],
                "shape": [size.dim_value or -1 for size in value.type.tensor_type.shape.dim] or [1],
            }
            for value in values
            if value.name != "padding"
        ]

    assert triton.get_model_metadata(name) == {
        "name": name,
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": described(graph.input),
        "outputs": described(graph.output),
    }
    assert triton.get_model_metadata(name, "1") == triton.get_model_metadata(name)


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_a_line_has_the_facies_of_infer_slice(triton, crossline, compression):
    line, clip, expected = crossline
    inputs = [input_of("section", line.amplitude), clip_of(clip)]
    result = triton.infer("demo_slice", inputs, request_id="line 500", request_compression_algorithm=compression)
    np.testing.assert_array_equal(result.as_numpy("facies"), expected.facies)
    np.testing.assert_array_equal(result.as_numpy("probabilities"), expected.probabilities)
    assert result.get_response()["id"] == "line 500"
    assert result.get_response()["model_name"] == "demo_slice"


def test_live_traces_have_what_the_slice_model_itself_gives(triton, crossline):
    line, clip, _ = crossline
    session = ort.InferenceSession(slice_path(find_model("demo")))
    facies, probabilities = session.run(
        ["facies", "probabilities"], {"section": line.amplitude, "amplitude_clip": np.array(clip, np.float32)}
    )
    result = triton.infer("demo_slice", [input_of("section", line.amplitude), clip_of(clip)])
    np.testing.assert_array_equal(result.as_numpy("facies")[line.live], facies[line.live])
    np.testing.assert_allclose(result.as_numpy("probabilities")[:, line.live], probabilities[:, line.live], atol=1e-5)
    assert (result.as_numpy("facies")[~line.live] == NO_DATA).all()
    assert np.isnan(result.as_numpy("probabilities")[:, ~line.live]).all()


def test_without_a_clip_it_is_that_of_the_slice_model(triton):
    session = ort.InferenceSession(slice_path(find_model("demo")))
    (expected,) = session.run(["probabilities"], {"section": NOISE})
    result = triton.infer("demo_slice", [input_of("section", NOISE)])
    np.testing.assert_allclose(result.as_numpy("probabilities"), expected, atol=1e-5)


def test_what_is_no_amplitude_is_silence(triton):
    odd, silent = NOISE.copy(), NOISE.copy()
    odd[3, 4:8] = [np.nan, np.inf, -np.inf, 1e30]
    silent[3, 4:8] = 0
    results = [
        triton.infer("demo_slice", [input_of("section", each)]).as_numpy("probabilities") for each in (odd, silent)
    ]
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("count", [1, 70])
def test_patches(triton, count):
    patches = np.random.default_rng(1).uniform(-1, 1, (count, 64, 64)).astype(np.float32)
    (expected,) = ort.InferenceSession(find_model("demo")).run(None, {"patches": patches})
    result = triton.infer("demo", [input_of("patches", patches)])
    np.testing.assert_allclose(result.as_numpy("probabilities"), expected, atol=1e-6)


def test_json_and_raw_bytes_say_the_same(triton):
    raw = triton.infer("demo_slice", [input_of("section", NOISE)])
    outputs = [client.InferRequestedOutput(name, binary_data=False) for name in ("probabilities", "facies")]
    text = triton.infer("demo_slice", [input_of("section", NOISE, binary=False)], outputs=outputs)
    assert [output["name"] for output in text.get_response()["outputs"]] == ["probabilities", "facies"]
    for name in ("facies", "probabilities"):
        np.testing.assert_array_equal(text.as_numpy(name), raw.as_numpy(name))


def test_only_what_is_asked_for_is_sent(triton):
    result = triton.infer("demo_slice", [input_of("section", NOISE)], outputs=[client.InferRequestedOutput("facies")])
    assert result.get_response()["outputs"] == [
        {"name": "facies", "datatype": "INT8", "shape": [40, 36], "parameters": {"binary_data_size": 40 * 36}}
    ]


def test_json_may_be_nested_and_has_null_without_data(port):
    status, headers, answer = post(port, INFER, json.dumps(message(data=[[7, 7, 7], [1, -2, 3e300]])))
    assert status == 200
    assert JSON_SIZE not in headers
    facies, probabilities = answer["outputs"]
    assert facies["data"][:3] == [NO_DATA] * 3
    assert probabilities["data"][:3] == [None] * 3
    assert np.array(probabilities["data"], float).reshape(9, 2, 3)[:, 1].sum(axis=0) == pytest.approx(1)


def test_raw_bytes_by_hand(port):
    body, headers = binary(np.array([1, 2, 3, 4, 5, 6], "<f4").tobytes())
    status, said, content = post(port, "/v2/models/demo_slice/versions/1/infer", body, headers)
    assert (status, said["Content-Type"]) == (200, "application/json")
    body = body.replace(b'{"inputs"', b'{"parameters": {"binary_data_output": true}, "inputs"')
    headers = {JSON_SIZE: str(len(body) - 24)}
    status, said, raw = post(port, INFER, body, headers)
    assert (status, said["Content-Type"]) == (200, "application/octet-stream")
    assert raw[int(said[JSON_SIZE]) :][:6] == np.array(content["outputs"][0]["data"], np.int8).tobytes()


def test_the_plugin_developers_page(crossline):
    """Its Python and its curl, word for word but for the port."""
    blocks = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8").split("```")
    (python,) = [block.removeprefix("python") for block in blocks if "tritonclient.http\n" in block]
    (curl,) = [block for block in blocks if block.startswith("\ncurl ")]
    line, _, _ = crossline
    expected = classify(line, load_model("waldeland", "cpu"), load_model("waldeland", "cpu").card.amplitude_clip)
    with running(service.create_app(offer(["waldeland"], "cpu"))) as port:
        names = {"amplitude": line.amplitude}
        exec(python.replace("8017", str(port)), names)
        np.testing.assert_array_equal(names["facies"], expected.facies)
        path, body = curl.split(":8017")[1].split(" -d ")
        status, _, answer = post(port, path, body.strip().strip("'"))
    assert (status, answer["outputs"][0]["shape"]) == (200, [2, 3])


# What is wrong.


def with_output(**output):
    return message() | {"outputs": [output]}


BAD = {
    "no JSON": (b"{", "The request cannot be read as JSON: Expecting property name enclosed in double quotes: line 1 "
                "column 2 (char 1)."),
    "no letters": (b"\xff\xfe\xfd", "The request cannot be read as JSON: it is not UTF-8. If raw bytes follow the "
                   f"JSON, the header {JSON_SIZE} has to say how long that is."),
    "too deep": (b"[" * 100_000, "The request cannot be read as JSON: it is too deep, or a number in it too long."),
    "too long": (b"9" * 10_000, "The request cannot be read as JSON: it is too deep, or a number in it too long."),
    "empty": (b"", "The request cannot be read as JSON: Expecting value: line 1 column 1 (char 0)."),
    "a list": ([], "The request should be a JSON object, not []."),
    "inputs": ({"inputs": "section"}, 'The request\'s inputs should be a list, not "section".'),
    "an input": ({"inputs": [7]}, "Each of the request's inputs should be a JSON object, not 7."),
    "no input": ({"inputs": []}, "The request has no input `section`: FP32 [-1, -1] is needed."),
    "other input": (message(name="sektion"), 'The model has no input "sektion": there is `section`, `amplitude_clip`.'),
    "no name": (message(name=["a"]), 'The model has no input ["a"]: there is `section`, `amplitude_clip`.'),
    "half a letter": (
        message(name="\ud800" * 100),
        'The model has no input "' + "\\ud800" * 9 + "\\ud80…: there is `section`, `amplitude_clip`.",
    ),
    "padding": (
        {"inputs": [{"name": "padding", "shape": [4], "datatype": "INT64", "data": [32, 32, 31, 31]}]},
        'The model has no input "padding": there is `section`, `amplitude_clip`.',
    ),
    "twice": ({"inputs": message()["inputs"] * 2}, "The request has the input `section` twice."),
    "id": (message() | {"id": 7}, "The request's id should be a string, not 7."),
    "output": (with_output(name="salt"), 'The model has no output "salt": there is `facies`, `probabilities`.'),
    "output twice": (
        message() | {"outputs": [{"name": "facies"}] * 2},
        "The request has the output `facies` twice.",
    ),
    "classification": (
        with_output(name="facies", parameters={"classification": 3}),
        "The output `facies` cannot be had as a classification here.",
    ),
    "flag": (
        with_output(name="facies", parameters={"binary_data": "yes"}),
        'The parameter binary_data should be true or false, not "yes".',
    ),
    "parameters": (message() | {"parameters": [1]}, "The request's parameters should be a JSON object, not [1]."),
    "shared memory": (
        message(data=..., parameters={"shared_memory_region": "mine"}),
        "The parameters of `section` name a shared memory region, and there is none here: send raw bytes.",
    ),
    "size": (
        message(data=..., parameters={"binary_data_size": True}),
        "The input `section` says that its binary_data_size is true, and FP32 [2, 3] takes 24 bytes.",
    ),
    "both": (
        message(parameters={"binary_data_size": 24}),
        "The input `section` has both data and a binary_data_size.",
    ),
    "no bytes": (
        message(data=..., parameters={"binary_data_size": 24}),
        "The input `section` takes 24 bytes, and 0 bytes are left of the request.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_a_bad_request_is_a_sentence(port, what):
    body, sentence = BAD[what]
    status, _, answer = post(port, INFER, body if isinstance(body, bytes) else json.dumps(body))
    assert (status, answer) == (400, {"error": sentence})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"shape": [6]}, 'datatype "FP32" and shape [6]'),
        ({"shape": [2, -3]}, 'datatype "FP32" and shape [2, -3]'),
        ({"shape": [2, 0]}, 'datatype "FP32" and shape [2, 0]'),
        ({"shape": [2, True]}, 'datatype "FP32" and shape [2, true]'),
        ({"shape": [2, 3.0]}, 'datatype "FP32" and shape [2, 3.0]'),
        ({"shape": [[2, 3]]}, 'datatype "FP32" and shape a list of lists or objects'),
        ({"shape": {"traces": 2}}, 'datatype "FP32" and shape an object'),
        ({"shape": None}, 'datatype "FP32" and shape null'),
        ({"datatype": "FP64"}, 'datatype "FP64" and shape [2, 3]'),
        ({"datatype": ...}, "datatype null and shape [2, 3]"),
    ],
)
def test_a_wrong_shape_or_type(port, changes, said):
    status, _, answer = post(port, INFER, json.dumps(message(**changes)))
    sentence = (
        f"The input `section` should be FP32 [-1, -1], where -1 is any number from 1 on, and the request has {said}."
    )
    assert (status, answer) == (400, {"error": sentence})


@pytest.mark.parametrize(
    "data",
    [..., [], 7, "123456", [1, 2, 3], [[1, 2], [3, 4], [5, 6]], [[1, 2, 3], [4, 5]], [1, 2, 3, 4, 5, "6"], [None] * 6,
     [10**400] * 6, [True] * 6, [[[[1]]]], [{}] * 6, ["1" * 100_000] + [""] * 100_000],
)  # fmt: skip
def test_wrong_data(port, data):
    status, _, answer = post(port, INFER, json.dumps(message(data=data)))
    assert (status, answer) == (
        400,
        {
            "error": "The input `section` should have data, a list of 6 numbers for FP32 [2, 3], or raw bytes and a "
            "binary_data_size."
        },
    )


def test_too_many_numbers_for_json(port, monkeypatch):
    monkeypatch.setattr("infer.hosts.open_inference.MOST_IN_JSON", 9 * 6 - 1)
    assert post(port, INFER, json.dumps(with_output(name="facies")))[0] == 200
    assert post(port, INFER, json.dumps(message()))[::2] == (
        400,
        {
            "error": "The output `probabilities` has 54 numbers, and JSON takes 53 at most: ask for it as raw bytes, "
            "with the parameter binary_data."
        },
    )
    asked = json.dumps(with_output(name="probabilities", parameters={"binary_data": True}))
    assert post(port, INFER, asked)[0] == 200


def test_a_huge_shape_takes_no_memory(port):
    status, _, answer = post(port, INFER, json.dumps(message(shape=[10**15, 10**15])))
    assert status == 400
    assert answer["error"].startswith("The input `section` should have data, a list of 1,000,000,000,000,000,000,000,0")


@pytest.mark.parametrize(
    ("clip", "status", "sentence"),
    [
        ([float("nan")], 400, "The amplitude clip must be a positive number of 32 bits, not nan."),
        ([0], 400, "The amplitude clip must be a positive number of 32 bits, not 0."),
        ([-1.5], 400, "The amplitude clip must be a positive number of 32 bits, not -1.5."),
        ([1e300], 400, "The amplitude clip must be a positive number of 32 bits, not inf."),
    ],
)
def test_a_clip_that_one_cannot_scale_by(port, clip, status, sentence):
    request = message()
    request["inputs"].append({"name": "amplitude_clip", "shape": [1], "datatype": "FP32", "data": clip})
    assert post(port, INFER, json.dumps(request))[::2] == (status, {"error": sentence})


def test_raw_bytes_that_do_not_add_up(port):
    values = bytes(24)
    body, headers = binary(values + b"!")
    assert post(port, INFER, body, headers)[::2] == (400, {"error": "1 byte of the request belong to no input."})
    body, headers = binary(values[1:])
    sentence = "The input `section` takes 24 bytes, and 23 bytes are left of the request."
    assert post(port, INFER, body, headers)[::2] == (400, {"error": sentence})
    body, headers = binary(values, shape=[2, 4])
    sentence = "The input `section` says that its binary_data_size is 24, and FP32 [2, 4] takes 32 bytes."
    assert post(port, INFER, body, headers)[::2] == (400, {"error": sentence})
    for said in ("-1", "1e3", "9999", "٣"):
        headers = {JSON_SIZE: said.encode()}
        status, _, answer = post(port, INFER, body, headers)
        quoted = json.dumps(said.encode().decode("latin-1"))
        should = f"should say how many of the request's {len(body)} bytes are JSON."
        sentence = f"The header {JSON_SIZE} says {quoted}, and {should}"
        assert (status, answer) == (400, {"error": sentence})


def test_patches_that_have_no_answer(triton, port):
    def refused(patches):
        with pytest.raises(client.InferenceServerException) as error:
            triton.infer("demo", [input_of("patches", patches)])
        return error.value.status(), error.value.message()

    patches = np.zeros((1, 64, 64), np.float32)
    patches[0, 5, 5] = np.nan
    assert refused(patches) == ("400", "The input `patches` has values that are NaN or infinite; zero is silence.")
    assert refused(np.zeros((1, 64, 65), np.float32)) == (
        "400",
        "The input `patches` should be FP32 [-1, 64, 64], where -1 is any number from 1 on, and the request has "
        'datatype "FP32" and shape [1, 64, 65].',
    )


def test_more_patches_than_triton_would_take(demo):
    many = input_of("patches", np.zeros((1025, 64, 64), np.float32))
    with (
        running(service.create_app(demo)) as port,
        client.InferenceServerClient(f"127.0.0.1:{port}") as triton,
        pytest.raises(client.InferenceServerException) as error,
    ):
        triton.infer("demo", [many])
    assert error.value.message() == "The request has 1,025 patches, and 1,024 is the most at a time."


def test_what_is_not_there(port):
    error = "There is no model 'salt' here: there is demo, demo_slice."
    for path in ("/v2/models/salt", "/v2/models/salt/ready", "/v2/models/salt/versions/1"):
        assert get(port, path)[::2] == (404, {"error": error})
    assert post(port, "/v2/models/salt/infer", json.dumps(message()))[::2] == (404, {"error": error})
    error = "There is no version '2' of demo: there is 1."
    assert get(port, "/v2/models/demo/versions/2")[::2] == (404, {"error": error})
    here = (
        "is nothing that is here: there is /v2, /v2/health/live, /v2/health/ready and, of a model, /v2/models/NAME, "
        "…/ready and …/infer (POST)."
    )
    assert get(port, "/")[::2] == (404, {"error": f"GET / {here}"})
    status, headers, answer = get(port, INFER)
    assert (status, headers["Allow"], answer) == (405, "POST", {"error": f"GET {INFER} {here}"})
    assert post(port, "/v2/repository/index")[::2] == (404, {"error": f"POST /v2/repository/index {here}"})


TOO_BIG = "The request is larger than 2 MB, the most that this service takes: see --max-request-mb."


def test_too_big(port, triton):
    with pytest.raises(client.InferenceServerException) as error:  # which listens only after it has sent all
        triton.infer("demo_slice", [input_of("section", np.zeros((10_000, 1_000), np.float32))])
    assert (error.value.status(), error.value.message()) == ("413", TOO_BIG)
    in_chunks = iter([b"x" * MB] * 3)  # no Content-Length
    assert post(port, INFER, in_chunks)[::2] == (413, {"error": TOO_BIG})


def test_too_big_once_expanded(port):
    for compress, name in ((gzip.compress, "gzip"), (zlib.compress, "deflate")):
        body = compress(b" " * (2 * MB + 1))
        assert len(body) < 5_000
        assert post(port, INFER, body, {"Content-Encoding": name})[::2] == (413, {"error": TOO_BIG})


def test_encodings(port):
    def refused(body, encoding):
        return post(port, INFER, body, {"Content-Encoding": encoding})[::2]

    right = gzip.compress(json.dumps(message()).encode())
    assert refused(right, "GZIP")[0] == 200
    cut = "The request cannot be decoded as gzip: it is cut off, or something follows."
    assert refused(right[:-1], "gzip") == (400, {"error": cut})
    assert refused(right + b"!", "gzip") == (400, {"error": cut})
    assert refused(b"{}", "gzip") == (
        400,
        {"error": "The request cannot be decoded as gzip: Error -3 while decompressing data: incorrect header check."},
    )
    assert refused(b"{}", "br") == (415, {"error": 'The request is encoded as "br": use gzip, deflate or nothing.'})


@pytest.mark.parametrize("seed", range(30))
def test_random_bytes_are_never_the_services_fault(port, seed):
    """Random bytes, and right requests with some bytes changed, cut off or doubled: a 4xx, or (rarely) an answer."""
    rng = np.random.default_rng(seed)
    headers = {}
    if seed % 3 == 0:
        body = rng.bytes(int(rng.integers(1, 3_000)))
    elif seed % 3 == 1:
        body, headers = binary(rng.bytes(24))
        changed = bytearray(body)
        for place in rng.integers(0, len(body), 3):
            changed[place] = rng.integers(0, 256)
        body = bytes(changed)
    else:
        body = json.dumps(message()).encode()
        cut = int(rng.integers(0, len(body)))
        body = body[:cut] + body[int(rng.integers(0, len(body))) :]
    if seed % 5 == 0:
        headers[JSON_SIZE] = str(rng.integers(0, 200))
    if seed % 7 == 0:
        headers["Content-Encoding"] = ["gzip", "deflate"][seed % 2]
    status, _, answer = post(port, INFER, body, headers)
    assert status in ((400, 413, 415) if seed % 3 == 0 else (200, 400)), answer
    assert status == 200 or answer["error"].endswith(".")


# Who may ask, and how many at a time.


def test_a_token(demo):
    asks = {"error": "This service asks for its token, as `Authorization: Bearer TOKEN`."}
    with running(service.create_app(demo, token="sésame-42")) as port:
        for path in ("/v2", "/v2/health/live", "/v2/nothing"):
            status, headers, answer = get(port, path)
            assert (status, headers["WWW-Authenticate"], answer) == (401, "Bearer", asks)
        assert post(port, INFER, b"x" * 3 * MB, {"Authorization": "Bearer other"})[::2] == (401, asks)
        for wrong in ("sésame-42", "Basic sésame-42", "Bearer sésame-4", "Bearer sésame-42 x", "Bearer"):
            assert get(port, "/v2", Authorization=wrong.encode())[0] == 401
        right = {"Authorization": "bearer sésame-42".encode()}
        assert get(port, "/v2", **right)[0] == 200
        assert post(port, INFER, json.dumps(message()), right)[0] == 200


class Busy:
    """A model that answers when it is told to, and notes what it does."""

    def __init__(self, offered):
        self._offered, self._lock = offered, threading.Lock()
        self.name, self.inputs, self.outputs = "busy", offered.inputs, offered.outputs
        self.log, self.most, self.go = [], 0, threading.Event()

    def answer(self, inputs, cancel):
        self._note("in")
        while not self.go.wait(0.01) and not cancel.is_set():
            pass
        self._note("left" if cancel.is_set() else "out")
        return self._offered.answer(inputs, threading.Event())

    def _note(self, what):
        with self._lock:
            self.log.append(what)
            self.most = max(self.most, self.log.count("in") - self.log.count("out"))


@pytest.fixture
def busy(demo):
    one = Busy(demo[1])
    yield one
    one.go.set()


def wait_for(condition):
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_no_more_than_so_many_at_a_time(busy):
    ask = ("/v2/models/busy/infer", json.dumps(message()))
    with running(service.create_app([busy], concurrency=2)) as port, ThreadPoolExecutor(11) as pool:
        asking = [pool.submit(post, port, *ask) for _ in range(11)]  # two at work, eight waiting
        wait_for(lambda: any(one.done() for one in asking) and busy.log == ["in", "in"])
        (refused,) = [one for one in asking if one.done()]
        status, headers, answer = refused.result()
        assert (status, headers["Retry-After"]) == (503, "1")
        assert answer == {"error": "The service has 10 requests to answer, and takes no more now: try again later."}
        assert get(port, "/v2/models/busy")[0] == 200  # while both threads are busy
        assert busy.log == ["in", "in"]
        busy.go.set()
        assert sorted(one.result()[0] for one in asking) == [200] * 10 + [503]
        assert post(port, *ask)[0] == 200
    assert busy.most == 2


def test_a_request_that_does_not_arrive(busy, monkeypatch):
    monkeypatch.setattr(service, "_TRANSFER_SECONDS", 0.2)
    monkeypatch.setattr(service, "_DISCARD_SECONDS", 0.2)
    head = b"POST /v2/models/busy/infer HTTP/1.1\r\nHost: here\r\nContent-Length: 99\r\n\r\n"
    with running(service.create_app([busy])) as port, socket.create_connection(("127.0.0.1", port)) as slow:
        slow.sendall(head + b"{")
        said = slow.makefile("rb").read()
    assert said.startswith(b"HTTP/1.1 408 ")
    assert said.endswith(b'{"error":"The request did not arrive within 0.2 s."}')
    assert busy.log == []


def test_a_client_that_leaves_stops_its_work(busy):
    body = json.dumps(message()).encode()
    head = f"POST /v2/models/busy/infer HTTP/1.1\r\nHost: here\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with running(service.create_app([busy], concurrency=1)) as port:
        with socket.create_connection(("127.0.0.1", port)) as first:
            first.sendall(head + body)
            wait_for(lambda: busy.log == ["in"])
            with socket.create_connection(("127.0.0.1", port)) as second:
                second.sendall(head + body)
            with socket.create_connection(("127.0.0.1", port)) as third:
                third.sendall(head + body[:10])  # leaves before all is said
        wait_for(lambda: busy.log == ["in", "left"])
        busy.go.set()
        assert post(port, "/v2/models/busy/infer", body)[0] == 200  # and the second was never begun
    assert busy.log == ["in", "left", "in", "out"]


def test_stopped_in_the_middle_of_a_request_it_says_so(busy, monkeypatch, caplog):
    monkeypatch.setattr(service, "_SHUTDOWN_SECONDS", 1)
    body = json.dumps(message()).encode()
    head = f"POST /v2/models/busy/infer HTTP/1.1\r\nHost: here\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with ThreadPoolExecutor(1) as pool, socket.socket() as arriving:
        with running(service.create_app([busy])) as port:
            asked = pool.submit(post, port, "/v2/models/busy/infer", body)
            arriving.connect(("127.0.0.1", port))
            arriving.sendall(head + body[:10])
            wait_for(lambda: busy.log == ["in"])
        status, _, answer = asked.result()
        still_arriving = arriving.makefile("rb").read()
    assert (status, answer) == (503, {"error": "The service was stopped before it had the answer."})
    assert still_arriving.startswith(b"HTTP/1.1 503 ")
    wait_for(lambda: busy.log == ["in", "left"])
    assert not [record for record in caplog.records if record.exc_info]


def test_four_clients_get_their_own_answers(demo):
    sections = [np.random.default_rng(n).normal(0, 500, (40, 36 + n)).astype(np.float32) for n in range(4)]
    model = load_model("demo", "cpu")
    expected = [
        classify(Section.from_amplitude(each), model, model.card.amplitude_clip).facies.ravel().tolist()
        for each in sections
    ]

    def ask(n):
        section = sections[n % 4]
        request = message(shape=section.shape, data=section.ravel().tolist()) | {"outputs": [{"name": "facies"}]}
        return post(port, INFER, json.dumps(request))[2]["outputs"][0]["data"]

    with running(service.create_app(demo)) as port, ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(24))) == expected * 6


def test_what_goes_wrong_here_is_said_to_be_so(busy, monkeypatch):
    def fail(error):
        def answer(_self, _inputs, _cancel):
            raise error

        return answer

    with running(service.create_app([busy])) as port:
        for error, sentence in (
            (DeviceError("A tile failed."), "A tile failed."),
            (MemoryError(), "There is not enough memory for this request: a smaller one takes less."),
            (ZeroDivisionError(), "The service has a fault, which its own screen shows."),
        ):
            monkeypatch.setattr(Busy, "answer", fail(error))
            status, _, answer = post(port, "/v2/models/busy/infer", json.dumps(message()))
            assert (status, answer) == (500, {"error": sentence})


# What is offered, and the command.


def test_a_slice_model_alone_and_models_that_cannot_be_offered(tmp_path):
    alone = tmp_path / "mine.slice.onnx"
    alone.write_bytes(slice_path(find_model("demo")).read_bytes())
    assert [(one.name, one.engine, one.path) for one in offer([alone], "cpu")] == [("mine_slice", "slice", alone)]

    with pytest.raises(OptionError) as error:
        offer(["demo", "demo"], "cpu")
    path = find_model("demo")
    assert str(error.value) == f"Two models would be offered as 'demo': {path} and {path}."

    odd = tmp_path / "my model.onnx"
    odd.write_bytes(path.read_bytes())
    with pytest.raises(OptionError) as error:
        offer([odd], "cpu")
    assert str(error.value) == (
        "A model is offered under its file's name, and 'my model' has more than letters, digits, '-', '_' and '.': "
        "rename the file."
    )


def test_a_slice_model_of_other_weights_is_not_offered(tiny_model, tmp_path):
    path = tiny_model(8)
    (tmp_path / "tiny8.slice.onnx").write_bytes(slice_path(find_model("demo")).read_bytes())
    (one,) = offer([path], "cpu")
    assert (one.name, one.engine) == ("tiny8", "patch")
    assert one.no_slice_reason == (
        f"tiny8.slice.onnx is no slice model of the weights in tiny8.onnx: make it again with `trainer slice {path}`."
    )


def test_options_that_make_no_sense(demo):
    for token in ("", "  ", "two words", "line\n"):
        with pytest.raises(OptionError) as error:
            service.create_app(demo, token=token)
        assert str(error.value) == "A token is one word of letters and signs that nobody guesses, without spaces."
    for limits in ({"max_request_mb": 0}, {"concurrency": 0}, {"max_request_mb": float("nan")}):
        with pytest.raises(OptionError, match=r"^A service that takes requests of .* at a time, answers nothing\.$"):
            service.create_app(demo, **limits)


def test_without_its_packages_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "infer.hosts.service")
    with pytest.raises(DependencyError) as error:
        __import__("infer.hosts.service")
    assert str(error.value) == 'The service needs Starlette and uvicorn: `pip install "facies-edge[serve]"`.'


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs `infer serve ARGUMENTS` up to where it would answer; gives status, screen, errors."""
    from infer import cli

    monkeypatch.setattr(service, "serve", lambda _app, _listening: None)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["infer", "serve", "--device", "cpu", "--model", "demo", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        return end.value.code or 0, said.out, said.err

    return run


def test_the_command_says_who_can_reach_it(command):
    warning = "Warning: Whoever can reach 0.0.0.0 can use this service: --token TOKEN asks them for one.\n"
    assert command("--host", "0.0.0.0", "--port", "0")[::2] == (0, warning)
    assert command("--host", "0.0.0.0", "--port", "0", "--token", "sesame")[::2] == (0, "")
    status, said, errors = command("--host", "localhost", "--port", "0")
    assert (status, errors) == (0, "")
    assert said.startswith("demo, demo_slice on CPU (")


def test_the_command_has_the_limits_of_the_application():
    from infer import cli

    said, own = inspect.signature(cli.serve).parameters, inspect.signature(service.create_app).parameters
    for name in ("max_request_mb", "concurrency"):
        assert said[name].default == own[name].default


def test_a_port_that_is_taken(command):
    with service.listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        assert command("--port", str(port)) == (
            2,
            "",
            f"Port {port} of 127.0.0.1 cannot be listened at: {os.strerror(errno.EADDRINUSE)}. "
            "Choose another --port or --host.\n",
        )


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process")
def test_the_command_itself(tmp_path):
    words = ["serve", "--model", "demo", "--device", "cpu", "--port", "0"]
    heeding = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # as in the foreground
    run = [sys.executable, "-c", f"{heeding}; from infer.cli import main; main()", *words]
    environment = {"PATH": "", "INFER_TOKEN": "sesame", "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(run, cwd=tmp_path, env=environment, stdout=-1, stderr=-1, text=True) as process:
        try:
            said = process.stdout.readline()
            port = int(said.split(":")[-1].split("/")[0])
            device = load_model("demo", "cpu").device
            assert said == f"demo, demo_slice on {device}, at http://127.0.0.1:{port}/v2; Ctrl-C ends it.\n"
            assert get(port, "/v2")[0] == 401
            assert get(port, "/v2", Authorization="Bearer sesame")[0] == 200
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=60) == ("", "Stopped; nothing half-written is left.\n")
            assert process.returncode == 130
        finally:
            process.kill()
