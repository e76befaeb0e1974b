"""The folder that exported models go to: which name is free there, and which model may be replaced."""

from __future__ import annotations

from pathlib import Path

from infer.card import ModelCard, read_card
from infer.errors import ModelError, OutputError
from trainer.names import check_model_name, numbered, quoted

EXPORTED = Path("exported")


def place_for(card: ModelCard, out: Path, *, replace: bool = False) -> Path:
    """Where the model of that card goes in `out`, which is made if need be.

    A model with the same weights in the same precision is replaced; another one only with `replace`.

    Raises OutputError: the name is none for a model, the folder cannot be made, or another model is in the way.
    """
    check_model_name(card.name)
    path = _file(out, card.name)
    try:
        out.mkdir(parents=True, exist_ok=True)
        taken = path.exists()
    except FileExistsError as error:
        raise OutputError(f"{out} is a file, and a model goes into a folder: give one with `--out DIR`.") from error
    except OSError as error:
        raise OutputError(f"Cannot write to {out}: {error.strerror}.") from error
    there = _card_of_same_weights(path, card.weights_sha256) if taken and not replace else card
    if there is None or there.precision != card.precision:
        model = f"the same network in {there.precision}" if there else "another model"
        raise OutputError(
            f"There is {model} at {path}, and it stays as it is. Give the new one a name of its own with "
            "`--name OTHER`, or put it in the place of the old one with `--replace`."
        )
    return path


def export_command(network: str, run: Path, fitted_name: str, out: Path = EXPORTED) -> str:
    """The `trainer export` that takes the run without meeting another model in `out`.

    fitted_name: what `trainer fit` was told to call the model, if it was.
    """
    name = ""
    if _file(out, fitted_name or network).exists():
        name = next(free for free in numbered(fitted_name or "mine") if not _file(out, free).exists())
    words = ["trainer", "export", network, "--run", str(run), *(["--name", name] if name else [])]
    return " ".join(map(quoted, words))


def _file(out: Path, name: str) -> Path:
    return out / f"{name}.onnx"


def _card_of_same_weights(path: Path, weights_sha256: str) -> ModelCard | None:
    """The card of the model at `path` if it has these weights. A model that says nothing is somebody's all the same."""
    try:
        card = read_card(path)
    except ModelError:
        return None
    return card if weights_sha256 and card.weights_sha256 == weights_sha256 else None
