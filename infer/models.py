"""The models that `infer` finds by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from infer.card import ModelCard, read_card
from infer.errors import InferError, ModelNotFoundError
from infer.sessions import Model

DEFAULT_MODEL = "waldeland"


class Found(NamedTuple):
    """A model file, and its card or the reason why it has none."""

    path: Path
    card: ModelCard | None
    reason: str


def model_folders() -> list[Path]:
    """Where models are looked for, in this order: `exported/` here, in the clone, in the installed package."""
    package = Path(__file__).resolve().parent
    folders = [Path.cwd() / "exported", package.parent / "exported", package / "exported"]
    return list(dict.fromkeys(folder.resolve() for folder in folders if folder.is_dir()))


def find_model(model: str | Path) -> Path:
    """The file of a model by its name (`waldeland`) or path.

    Raises ModelNotFoundError: neither.
    """
    path = Path(model)
    if path.suffix == ".onnx":
        if not path.is_file():
            raise ModelNotFoundError(f"There is no model at {path}.")
        return path
    for folder in model_folders():
        if (folder / f"{model}.onnx").is_file():
            return folder / f"{model}.onnx"
    names = ", ".join(dict.fromkeys(found.path.stem for found in list_models())) or "none"
    raise ModelNotFoundError(f"There is no model named '{model}'. Models found: {names}. See `infer models`.")


def list_models() -> Iterator[Found]:
    """Every model in the model folders, by name; where two have one name, the first is the one that runs."""
    seen = set()
    for folder in model_folders():
        for path in sorted(folder.glob("*.onnx")):
            if path.stem in seen:
                continue
            seen.add(path.stem)
            try:
                yield Found(path, read_card(path), "")
            except InferError as error:
                yield Found(path, None, str(error))


def load_model(model: str | Path = DEFAULT_MODEL, device: str = "auto") -> Model:
    """A model by name or path, ready to run on `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises ModelNotFoundError, ModelError, DeviceError, DependencyError: see `find_model` and `Model`.
    """
    return Model(find_model(model), device)
