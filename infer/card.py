"""ModelCard: what a model says about itself, read from and written to an ONNX file's metadata_props.

The little of protobuf that this needs is here, so that the runtime does without `onnx` and lists models without
starting sessions. Source: the protobuf encoding guide, and onnx.proto (in a ModelProto field 7 is the graph and field
14 `metadata_props`, a repeated StringStringEntryProto with `key` = 1 and `value` = 2).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from infer.errors import ModelError, ModelNotFoundError
from infer.files import replacing

CARD_KEY = "facies_edge_card"
CARD_VERSION = 1

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
    patch_centre: int = -1  # an index along either axis; patch_size // 2 if not given
    axis_order: tuple[str, ...] = ("trace", "sample")
    amplitude_clip: float | None = None  # the training survey's
    survey: str = ""
    polarity: str = ""
    training_lines: tuple[str, ...] = ()  # "inline 339"
    picks: dict[str, Any] = field(default_factory=dict)
    split: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    libraries: dict[str, str] = field(default_factory=dict)
    weights_sha256: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        if self.patch_size < 1 or not self.facies_names or len(self.facies_names) != len(self.facies_colours):
            raise ModelError(
                f"The model card of '{self.name}' needs a patch size, facies names and as many colours: it has "
                f"{self.patch_size}, {len(self.facies_names)} and {len(self.facies_colours)}."
            )
        if self.patch_centre == -1:
            object.__setattr__(self, "patch_centre", self.patch_size // 2)

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
            version = entries.pop("card_version")
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
            raise ModelError(f"The model card cannot be read ({type(error).__name__}: {error}).") from error


def read_card(path: Path) -> ModelCard:
    """The card inside the .onnx file at `path`.

    Raises ModelNotFoundError: no such file. ModelError: not ONNX, or without a card.
    """
    model = _read(path)
    for entry in _metadata(model):
        if entry.key == CARD_KEY:
            return ModelCard.from_json(entry.value)
    raise ModelError(
        f"{path.name} has no model card, which says its patch size and its facies. Write one as JSON (`infer card` "
        f"prints the card of a model that has one) and give it to the model: `infer card {path.name} card.json`."
    )


def write_card(path: Path, card: ModelCard) -> None:
    """Put `card` into the .onnx file at `path`, in the place of one that it has. Nothing else changes in the file.

    Raises ModelNotFoundError: no such file. ModelError: not ONNX.
    """
    model = _read(path)
    content = _length_delimited(_KEY, CARD_KEY.encode()) + _length_delimited(_VALUE, card.to_json().encode())
    end = 0
    kept = []
    for entry in _metadata(model):
        if entry.key == CARD_KEY:
            kept.append(model[end : entry.start])
            end = entry.end
    kept.append(model[end:])
    with replacing(path) as temporary:
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


def _read(path: Path) -> bytes:
    try:
        model = path.read_bytes()
    except FileNotFoundError as error:
        raise ModelNotFoundError(f"There is no model at {path}.") from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        numbers = {number for number, *_ in _messages(model, 0, len(model))}
    except (IndexError, ValueError) as error:
        raise ModelError(f"{path.name} is not an ONNX model, or is damaged.") from error
    if _GRAPH not in numbers:
        raise ModelError(f"{path.name} is not an ONNX model: it holds no graph.")
    return model


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
