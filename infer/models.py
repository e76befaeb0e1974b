"""The models that `infer` finds by name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from infer.card import ModelCard, read_card
from infer.errors import InferError, ModelError, ModelNotFoundError, OptionError
from infer.sessions import SLICE_SUFFIX, Model

DEFAULT_MODEL = "waldeland"


class SliceModel(NamedTuple):
    """A slice model beside its patch model, and the reason why it must not run in its place, if it must not."""

    path: Path
    reason: str


class Found(NamedTuple):
    """A model file, its card or the reason why it has none, and its slice model."""

    path: Path
    card: ModelCard | None
    reason: str
    slice_model: SliceModel | None = None


def model_folders() -> list[Path]:
    """Where models are looked for, in this order: `exported/` here, in the clone, in the installed package."""
    package = Path(__file__).resolve().parent
    folders = [Path.cwd() / "exported", package.parent / "exported", package / "exported"]
    return list(dict.fromkeys(folder.resolve() for folder in folders if folder.is_dir()))


def find_model(model: str | Path) -> Path:
    """The file of a model by its name (`waldeland`) or path. A slice model may be there without its patch model.

    Raises ModelNotFoundError: neither.
    """
    path = Path(model)
    if path.suffix == ".onnx":
        if not _is_file(path):
            raise ModelNotFoundError(f"There is no model at {path}.")
        return path
    for folder in model_folders():
        for file in (folder / f"{model}.onnx", folder / f"{model}{SLICE_SUFFIX}"):
            if _is_file(file):
                return file
    names = ", ".join(dict.fromkeys(name_of(found.path) for found in list_models())) or "none"
    wrong = f"{path} is no .onnx file" if os.path.exists(path) else f"There is no model named '{model}'"  # noqa: PTH110
    raise ModelNotFoundError(f"{wrong}. Models found by name: {names}. See `infer models`.")


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 - Path's methods raise OSError for a name that is too long


def list_models() -> Iterator[Found]:
    """Every model in the model folders, by name; where two have one name, the first is the one that runs."""
    seen = set()
    for folder in model_folders():
        for path in sorted(folder.glob("*.onnx"), key=lambda path: (name_of(path), path.name.endswith(SLICE_SUFFIX))):
            if name_of(path) in seen:
                continue
            seen.add(name_of(path))
            try:
                card = read_card(path)
                alone = path.name.endswith(SLICE_SUFFIX)
                yield Found(path, card, "", None if alone else slice_model_of(path, card))
            except InferError as error:
                yield Found(path, None, str(error))


def name_of(path: Path) -> str:
    """The name by which the model in a file is found."""
    return path.name.removesuffix(SLICE_SUFFIX).removesuffix(".onnx")


def slice_path(path: Path) -> Path:
    """Where the slice model of the patch model at `path` is, if there is one: `x.slice.onnx` beside `x.onnx`."""
    return path.with_suffix(SLICE_SUFFIX)


def slice_model_of(path: Path, card: ModelCard) -> SliceModel | None:
    """The slice model beside the patch model at `path` with that card; None where there is none."""
    beside = slice_path(path)
    if not beside.is_file():
        return None
    again = f"make it again with `trainer slice {path}`."
    try:
        same = card.weights_sha256 != "" and _what_runs(read_card(beside)) == _what_runs(card)
    except InferError:
        return SliceModel(beside, f"{beside.name} cannot be read, and is damaged perhaps: {again}")
    return SliceModel(beside, "" if same else f"{beside.name} is no slice model of the weights in {path.name}: {again}")


def load_model(
    model: str | Path = DEFAULT_MODEL, device: str = "auto", engine: str = "auto", *, stride: int = 1
) -> Model:
    """A model by name or path, ready to run on `auto`, `cpu`, `cuda` or `cuda:N`.

    engine: `slice`, the slice model beside the patch model; `patch`; or `auto`, whichever is there and quicker (see
    `Model.engine`). A slice model of other weights is not used, for `Model.no_slice_reason`. The path of a slice model
    may be given too, and then no patch model is needed.
    stride: the one that `classify` will be called with; with another it works too, and may take a while to start.

    Raises ModelNotFoundError, ModelError, DeviceError, DependencyError, OptionError: see `find_model` and `Model`, or
    the engine cannot run this model.
    """
    if engine not in ("auto", "slice", "patch"):
        raise OptionError(f"There is no engine '{engine}': use auto, slice or patch.")
    path = find_model(model)
    if path.name.endswith(SLICE_SUFFIX):
        if engine == "patch":
            raise ModelError(f"{path.name} is a slice model, so the patch engine cannot run it: give it a patch model.")
        return Model(path, device)
    if engine == "patch":
        return Model(path, device)
    card = read_card(path)
    slice_model = slice_model_of(path, card)
    if engine == "slice":
        return Model(path, device, files={"slice": _usable(slice_model, path)})
    if slice_model is None or slice_model.reason:
        return Model(path, device, no_slice_reason=slice_model.reason if slice_model else "")
    return Model(path, device, files={"patch": path, "slice": slice_model.path}, stride=stride)


def _usable(slice_model: SliceModel | None, path: Path) -> Path:
    if slice_model is None:
        raise ModelNotFoundError(
            f"There is no slice model {slice_path(path).name} beside {path.name}: make it with `trainer slice {path}`."
        )
    if slice_model.reason:
        raise ModelError(f"The slice engine cannot run {path.name}: {slice_model.reason}")
    return slice_model.path


def _what_runs(card: ModelCard) -> tuple[object, ...]:
    """What two models have in common that give the same answers."""
    return card.weights_sha256, card.precision, card.patch_size, len(card.facies_names)
