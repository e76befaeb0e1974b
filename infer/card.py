"""ModelCard: what a model says about itself, read from and written to an ONNX file's metadata_props.

The little of protobuf that this needs is here, so that the runtime does without `onnx` and lists models without
starting sessions. Source: the protobuf encoding guide, and onnx.proto (in a ModelProto field 7 is the graph and field
14 `metadata_props`, a repeated StringStringEntryProto with `key` = 1 and `value` = 2).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from infer.errors import ModelError, ModelNotFoundError
from infer.files import writing

CARD_KEY = "facies_edge_card"
CARD_VERSION = 1

_COLOUR = re.compile("#[0-9a-fA-F]{6}")
_GRAPH, _METADATA_PROPS, _KEY, _VALUE = 7, 14, 1, 2
_VARINT, _LENGTH_DELIMITED = 0, 2
_FIXED = {1: 8, 5: 4}  # wire type: bytes


@dataclass(frozen=True)
class ModelCard:
    """What a model says about itself. Only the first block is needed to run it; the rest is for people."""

    name: str
    patch_size: int
    facies_names: tuple[str, ...]
    facies_colours: tuple[str, ...]  # "#rrggbb" each

    version: str = "1"
    network: str = ""
    precision: str = "fp32"  # of the weights in this file: fp32, fp16 or int8
    patch_centre: int = -1  # an index along either axis; patch_size // 2 if not given
    axis_order: tuple[str, ...] = ("trace", "sample")
    amplitude_clip: float | None = None  # the training survey's
    survey: str = ""
    polarity: str = ""
    training_lines: tuple[str, ...] = ()  # "inline 339"
    picks: dict[str, Any] = field(default_factory=dict)
    split: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)  # the recipe, and what it started from
    scores: dict[str, float] = field(default_factory=dict)
    libraries: dict[str, str] = field(default_factory=dict)
    weights_sha256: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        if self.patch_centre == -1 and isinstance(self.patch_size, int):
            object.__setattr__(self, "patch_centre", self.patch_size // 2)
        for fault in self._faults():
            raise ModelError(f"The model card of '{self.name}' cannot be used: {fault}.")

    def _faults(self) -> Iterator[str]:
        """What a card from a file may get wrong, since JSON has no types of ours."""
        if not isinstance(self.patch_size, int) or self.patch_size < 1:
            yield f"its patch_size is {self.patch_size!r}, and should be a whole number of samples"
        elif self.patch_centre != self.patch_size // 2 or self.axis_order != ("trace", "sample"):
            yield (
                f"patches here have the axes trace, sample and their centre at index {self.patch_size // 2}, and it "
                f"says {', '.join(map(str, self.axis_order))} and {self.patch_centre}"
            )
        if not _are_strings(self.facies_names) or not self.facies_names:
            yield "its facies_names should be a list of names"
        if not _are_strings(self.facies_colours) or not all(map(_COLOUR.fullmatch, self.facies_colours)):
            yield "its facies_colours should be a list of colours such as #4477aa"
        if len(self.facies_names) != len(self.facies_colours):
            yield f"it has {len(self.facies_names)} facies_names and {len(self.facies_colours)} facies_colours"
        if not isinstance(self.precision, str):
            yield f"its precision is {self.precision!r}, and should be a name such as fp32"
        if not _are_strings(self.training_lines):
            yield 'its training_lines should be a list such as ["inline 339"]'
        if not isinstance(self.split, dict) or not isinstance(self.scores, dict):
            yield "its split and scores should be objects"
        elif not all(isinstance(score, int | float) for score in self.scores.values()):
            yield "its scores should be numbers"

    def to_json(self) -> str:
        """The card as JSON, with the version of its layout as `card_version`."""
        return json.dumps({"card_version": CARD_VERSION, **asdict(self)}, ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """The card that `to_json` wrote. Keys of a later layout that we do not know are left out.

        Raises ModelError: not JSON, a newer layout, or without the keys that running the model needs.
        """
        try:
            entries = json.loads(text)
            version = entries.pop("card_version", CARD_VERSION)
            if version > CARD_VERSION:
                raise ModelError(
                    f"The model card has layout {version}, and this version of facies-edge knows {CARD_VERSION}: "
                    "install a newer facies-edge."
                )
            known = {f.name: entries[f.name] for f in fields(cls) if f.name in entries}
            for name, value in known.items():
                if isinstance(value, list):
                    known[name] = tuple(value)
            return cls(**known)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, ModelError):
                raise
            raise ModelError(f"The model card cannot be read: {_what_is_wrong(error)}.") from error


def _what_is_wrong(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"it is not JSON ({error})"
    missing = re.findall("'([a-z_]+)'", str(error)) if "missing" in str(error) else []
    return (
        f"it has no {' and no '.join(missing)}" if missing else "it should be a JSON object like that of `infer card`"
    )


def _are_strings(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(part, str) for part in value)


def read_card(path: Path) -> ModelCard:
    """The card inside the .onnx file at `path`.

    Raises ModelNotFoundError: no such file. ModelError: not ONNX, or without a card.
    """
    _, metadata = _read(path)
    for entry in metadata:
        if entry.key == CARD_KEY:
            return ModelCard.from_json(entry.value)
    raise ModelError(
        f"{path.name} has no model card, which says its patch size and its facies. Write one as JSON (`infer card` "
        f"prints the card of a model that has one) and give it to the model: `infer card {path.name} card.json`."
    )


def write_card(path: Path, card: ModelCard) -> None:
    """Put `card` into the .onnx file at `path`, in the place of one that it has. Nothing else changes in the file.

    Raises ModelNotFoundError: no such file. ModelError: not ONNX. OutputError: it cannot be replaced.
    """
    model, metadata = _read(path)
    content = _length_delimited(_KEY, CARD_KEY.encode()) + _length_delimited(_VALUE, card.to_json().encode())
    end = 0
    kept = []
    for entry in metadata:
        if entry.key == CARD_KEY:
            kept.append(model[end : entry.start])
            end = entry.end
    kept.append(model[end:])
    with writing(path) as temporary:
        temporary.write_bytes(b"".join([*kept, _length_delimited(_METADATA_PROPS, content)]))


@dataclass(frozen=True)
class _Entry:
    """One entry of metadata_props, and the bytes of the file that hold it."""

    key: str
    value: str
    start: int
    end: int


def _metadata(model: bytes) -> Iterator[_Entry]:
    for number, start, content, end in _messages(model, 0, len(model)):
        if number == _METADATA_PROPS:
            parts = {part: model[first:last] for part, _, first, last in _messages(model, content, end)}
            yield _Entry(parts.get(_KEY, b"").decode(), parts.get(_VALUE, b"").decode(), start, end)


def _read(path: Path) -> tuple[bytes, list[_Entry]]:
    """The bytes of an ONNX file, and its metadata."""
    try:
        model = path.read_bytes()
    except FileNotFoundError as error:
        raise ModelNotFoundError(f"There is no model at {path}.") from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        numbers = {number for number, *_ in _messages(model, 0, len(model))}
        metadata = list(_metadata(model))
    except (IndexError, ValueError) as error:
        raise ModelError(f"{path.name} is not an ONNX model, or is damaged.") from error
    if _GRAPH not in numbers:
        raise ModelError(f"{path.name} is not an ONNX model: it holds no graph.")
    return model, metadata


def _messages(message: bytes, position: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """The fields between two positions: number, start, start of the content, end."""
    while position < end:
        start = position
        tag, position = _varint(message, position)
        kind, content = tag & 7, position
        if kind == _LENGTH_DELIMITED:
            size, content = _varint(message, position)
            position = content + size
        elif kind == _VARINT:
            _, position = _varint(message, position)
        elif kind in _FIXED:
            position += _FIXED[kind]
        else:
            raise ValueError(f"no wire type {kind}")
        if position > end:
            raise ValueError("a field reaches past the end")
        yield tag >> 3, start, content, position


def _varint(message: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = message[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
        shift += 7


def _length_delimited(number: int, content: bytes) -> bytes:
    return _encode_varint(number << 3 | _LENGTH_DELIMITED) + _encode_varint(len(content)) + content


def _encode_varint(number: int) -> bytes:
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
