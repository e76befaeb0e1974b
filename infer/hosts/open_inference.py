"""The Open Inference Protocol v2: its messages as arrays, and arrays as its messages.

Source: the protocol's REST API (github kserve/open-inference-protocol), and Triton's binary tensor data extension, in
which raw little-endian tensors follow the JSON of a message.
"""

from __future__ import annotations

import itertools
import json
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from infer.errors import InferError

BINARY_EXTENSION = "binary_tensor_data"
JSON_SIZE_HEADER = "Inference-Header-Content-Length"
"""How many bytes of a message are JSON; the raw tensors follow. Without it, all of them are."""

DTYPES: dict[str, np.dtype[Any]] = {"FP32": np.dtype("<f4"), "INT8": np.dtype("i1"), "INT64": np.dtype("<i8")}

MOST_IN_JSON = 10_000_000
"""The most numbers of an output in JSON: three lines of F3 with their probabilities."""

_LONGEST_QUOTE = 60


class RequestError(InferError, ValueError):
    """A request that cannot be answered, and the HTTP status that says so."""

    def __init__(self, sentence: str, status: int = 400) -> None:
        super().__init__(sentence)
        self.status = status


class Tensor(NamedTuple):
    """An input or output of a model; -1 in its shape is any number from 1 on."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    optional: bool = False

    def __str__(self) -> str:
        return f"{self.datatype} {list(self.shape)}"


class InferRequest(NamedTuple):
    """A request to infer: its inputs, and the outputs that it asks for with whether each should come as raw bytes."""

    id: str | None
    inputs: dict[str, NDArray[Any]]
    outputs: dict[str, bool]


def describe_model(name: str, version: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> dict[str, Any]:
    """The metadata of a model."""
    described = [
        [{"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)} for tensor in tensors]
        for tensors in (inputs, outputs)
    ]
    return {
        "name": name,
        "versions": [version],
        "platform": "onnxruntime_onnx",
        "inputs": described[0],
        "outputs": described[1],
    }


def read_request(
    body: bytes | bytearray, json_size: str | None, inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> InferRequest:
    """What a request asks of a model with these tensors. Raw inputs are read-only views of `body`.

    json_size: what its header `JSON_SIZE_HEADER` says.

    Raises RequestError: it is not as the protocol has it, or not for this model.
    """
    size = _json_size(json_size, len(body))
    message = _object(_parse(bytes(memoryview(body)[:size])), "The request")
    rest = memoryview(body).toreadonly()[size:]
    arrays: dict[str, NDArray[Any]] = {}
    for entry in _objects(message, "inputs"):
        tensor = _tensor(entry, inputs, arrays, "input")
        arrays[tensor.name], rest = _array(entry, tensor, rest)
    if len(rest):
        raise RequestError(f"{_bytes(len(rest))} of the request belong to no input.")
    for tensor in inputs:
        if tensor.name not in arrays and not tensor.optional:
            raise RequestError(f"The request has no input `{tensor.name}`: {tensor} is needed.")
    identity = message.get("id")
    if identity is not None and not isinstance(identity, str):
        raise RequestError(f"The request's id should be a string, not {_quote(identity)}.")
    return InferRequest(identity, arrays, _asked(message, outputs))


def write_response(
    model: str, version: str, request: InferRequest, answers: Mapping[str, NDArray[Any]]
) -> tuple[bytes, list[NDArray[Any]]]:
    """The JSON of the response, and the arrays that follow it as raw bytes.

    In JSON there is no NaN: it becomes null.

    Raises RequestError: too many numbers for JSON, where each takes some fifty bytes of memory.
    """
    described, raw = [], []
    for name, binary in request.outputs.items():
        array = answers[name]
        datatype = next(datatype for datatype, dtype in DTYPES.items() if dtype == array.dtype)
        entry: dict[str, Any] = {"name": name, "datatype": datatype, "shape": list(array.shape)}
        if binary:
            raw.append(np.ascontiguousarray(array, DTYPES[datatype]))
            entry["parameters"] = {"binary_data_size": array.nbytes}
        elif array.size > MOST_IN_JSON:
            raise RequestError(
                f"The output `{name}` has {array.size:,} numbers, and JSON takes {MOST_IN_JSON:,} at most: ask for it "
                "as raw bytes, with the parameter binary_data."
            )
        else:
            entry["data"] = [None if value != value else value for value in array.ravel().tolist()]
        described.append(entry)
    message = {"model_name": model, "model_version": version, "outputs": described}
    if request.id is not None:
        message["id"] = request.id
    return to_json(message), raw


def to_json(message: Mapping[str, Any]) -> bytes:
    """A message as ASCII, whatever letters (half a surrogate pair, say) a client put into it."""
    return json.dumps(message, separators=(",", ":")).encode("ascii")


def expand(body: bytes | bytearray, encoding: str | None, most: int) -> bytes | bytearray:
    """The body of a request by its header Content-Encoding: as it is, gzip or deflate.

    Raises RequestError: more than `most` bytes come out, another encoding, or damaged.
    """
    if encoding is None or encoding.lower() == "identity":
        return body
    if encoding.lower() not in ("gzip", "deflate"):
        raise RequestError(f"The request is encoded as {_quote(encoding)}: use gzip, deflate or nothing.", 415)
    decoder = zlib.decompressobj(zlib.MAX_WBITS | (16 if encoding.lower() == "gzip" else 0))
    try:
        expanded = decoder.decompress(body, most + 1)
    except zlib.error as error:
        raise RequestError(f"The request cannot be decoded as {encoding.lower()}: {error}.") from error
    if len(expanded) > most:
        raise RequestError(too_big(most), 413)
    if not decoder.eof or decoder.unused_data:
        raise RequestError(f"The request cannot be decoded as {encoding.lower()}: it is cut off, or something follows.")
    return expanded


def too_big(most: int) -> str:
    """The sentence on a request of more than `most` bytes."""
    return f"The request is larger than {most / 1e6:g} MB, the most that this service takes: see --max-request-mb."


def _json_size(said: str | None, length: int) -> int:
    if said is None:
        return length
    if not (said.isascii() and said.isdigit()) or len(said) > 18 or int(said) > length:
        raise RequestError(
            f"The header {JSON_SIZE_HEADER} says {_quote(said)}, and should say how many of the request's {length:,} "
            "bytes are JSON."
        )
    return int(said)


def _parse(text: bytes) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        reason = str(error)
    except UnicodeDecodeError:
        reason = (
            f"it is not UTF-8. If raw bytes follow the JSON, the header {JSON_SIZE_HEADER} has to say how long that is"
        )
    except (ValueError, RecursionError):
        reason = "it is too deep, or a number in it too long"
    raise RequestError(f"The request cannot be read as JSON: {reason}.")


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RequestError(f"{what} should be a JSON object, not {_quote(value)}.")
    return value


def _objects(message: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    entries = message.get(key, [])
    if not isinstance(entries, list):
        raise RequestError(f"The request's {key} should be a list, not {_quote(entries)}.")
    return [_object(entry, f"Each of the request's {key}") for entry in entries]


def _tensor(entry: Mapping[str, Any], known: Sequence[Tensor], taken: Mapping[str, Any], kind: str) -> Tensor:
    """Which of the model's tensors an entry is for."""
    name = entry.get("name")
    for tensor in known:
        if tensor.name == name:
            if name in taken:
                raise RequestError(f"The request has the {kind} `{name}` twice.")
            return tensor
    names = ", ".join(f"`{tensor.name}`" for tensor in known)
    raise RequestError(f"The model has no {kind} {_quote(name)}: there is {names}.")


def _array(entry: Mapping[str, Any], tensor: Tensor, rest: memoryview) -> tuple[NDArray[Any], memoryview]:
    """An input's values, and the raw bytes that are left for the next ones."""
    shape = _shape(entry, tensor)
    parameters = _parameters(entry, tensor.name)
    if "binary_data_size" not in parameters:
        return _from_json(entry.get("data"), tensor, shape), rest
    size, dtype = parameters["binary_data_size"], DTYPES[tensor.datatype]
    count = math.prod(shape)
    if "data" in entry:
        raise RequestError(f"The input `{tensor.name}` has both data and a binary_data_size.")
    if type(size) is not int or size != count * dtype.itemsize:
        raise RequestError(
            f"The input `{tensor.name}` says that its binary_data_size is {_quote(size)}, and {tensor.datatype} "
            f"{list(shape)} takes {count * dtype.itemsize:,} bytes."
        )
    if size > len(rest):
        raise RequestError(
            f"The input `{tensor.name}` takes {_bytes(size)}, and {_bytes(len(rest))} are left of the request."
        )
    return np.frombuffer(rest[:size], dtype).reshape(shape), rest[size:]


def _shape(entry: Mapping[str, Any], tensor: Tensor) -> tuple[int, ...]:
    shape, datatype = entry.get("shape"), entry.get("datatype")
    if (
        datatype != tensor.datatype
        or not isinstance(shape, list)
        or len(shape) != len(tensor.shape)
        or not all(type(size) is int and size > 0 for size in shape)
        or any(size != fixed != -1 for size, fixed in zip(shape, tensor.shape, strict=True))
    ):
        raise RequestError(
            f"The input `{tensor.name}` should be {tensor}, where -1 is any number from 1 on, and the request has "
            f"datatype {_quote(datatype)} and shape {_quote(shape)}."
        )
    return tuple(shape)


def _from_json(data: Any, tensor: Tensor, shape: tuple[int, ...]) -> NDArray[Any]:
    """Numbers in row-major order, flat or nested as the shape is."""
    values = _numbers(data)
    if values is None or values.shape not in (shape, (math.prod(shape),)):
        raise RequestError(
            f"The input `{tensor.name}` should have data, a list of {math.prod(shape):,} numbers for "
            f"{tensor.datatype} {list(shape)}, or raw bytes and a binary_data_size."
        )
    with np.errstate(over="ignore"):  # what is too large for 32 bits is infinite, and no amplitude
        return values.astype(DTYPES[tensor.datatype]).reshape(shape)


def _numbers(data: Any) -> NDArray[np.float64] | None:
    """A list, or lists in lists, of nothing but numbers; None of anything else.

    NumPy is told the type: of texts it would make an array in which each is as long as the longest.
    """
    if not isinstance(data, list):
        return None
    try:
        values = np.asarray(data, np.float64)
    except (ValueError, TypeError, OverflowError):  # lists of unequal lengths or too deep, words, too large
        return None
    leaves: Iterable[Any] = data
    for _ in range(values.ndim - 1):
        leaves = itertools.chain.from_iterable(leaves)
    return values if set(map(type, leaves)) <= {int, float} else None


def _asked(message: Mapping[str, Any], outputs: Sequence[Tensor]) -> dict[str, bool]:
    """The outputs that a request asks for, and whether each should be raw; all of them if it names none."""
    binary = _flag(_parameters(message, None), "binary_data_output", False)
    asked: dict[str, bool] = {}
    for entry in _objects(message, "outputs"):
        tensor = _tensor(entry, outputs, asked, "output")
        parameters = _parameters(entry, tensor.name)
        if parameters.get("classification"):
            raise RequestError(f"The output `{tensor.name}` cannot be had as a classification here.")
        asked[tensor.name] = _flag(parameters, "binary_data", binary)
    return asked or {tensor.name: binary for tensor in outputs}


def _parameters(entry: Mapping[str, Any], name: str | None) -> dict[str, Any]:
    what = f"The parameters of `{name}`" if name else "The request's parameters"
    parameters = _object(entry.get("parameters", {}), what)
    if "shared_memory_region" in parameters:
        raise RequestError(f"{what} name a shared memory region, and there is none here: send raw bytes.")
    return parameters


def _flag(parameters: Mapping[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise RequestError(f"The parameter {name} should be true or false, not {_quote(value)}.")
    return value


def _quote(value: Any) -> str:
    """What a client sent, short enough for a sentence."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list) and any(isinstance(part, list | dict) for part in value):
        return "a list of lists or objects"
    text = json.dumps(value)
    return text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + "…"


def _bytes(count: int) -> str:
    return "1 byte" if count == 1 else f"{count:,} bytes"
