"""A patch model as a ZipModel, which OpendTect's machine learning plugin applies through its Python package dgbpy.

What happens to one there was read in dgbpy's sources (github OpendTect/dgbpy: zipmodelbase.py at 030b4f2, hdf5.py at
238de7f, deeplearning_apply_serverlib.py and dgbscikit.py at 9dde73b and 10ef39c):

- dgbpy puts the zip on `sys.path`, imports `ZipModel` from `zipmodel`, starts it without arguments, and calls `predict`
  with all windows along one trace, `[window, attribute, inline, crossline, z]`.
- It never opens modelinfo.json: OpendTect does, and makes the .h5 of it that dgbpy reads.
- Every scaling that dgbpy has a name for changes amplitudes. "Global Standardization" subtracts the mean of a volume
  and divides by its standard deviation; all others stretch each trace by its own amplitudes, which nobody can undo.
  With any other name its apply server scales nothing, unless OpendTect sends a mean and a deviation all the same.
- Its apply server takes a cubelet one line wide for a part of an image, and fails on classifying the windows of one. So
  these are three lines wide, and the middle one counts.
- It makes facies and the probabilities of single facies of an array `[facies, window]`. Its confidence takes that array
  for `[window, facies]`.
"""

from __future__ import annotations

import importlib.resources
import json
import math
import zipfile
from pathlib import Path
from typing import Any

from infer.amplitude import check_clip
from infer.card import ModelCard
from infer.errors import ModelError, OptionError, OutputError
from infer.files import check_folder, replacing
from infer.models import find_model
from infer.sessions import PRODUCTS, SLICE_SUFFIX, Model, onnxruntime

THICKNESS = 3  # of cubelets, in lines


def write_zipmodel(
    model: str | Path,
    out: Path,
    *,
    along: str = "inline",
    amplitude_clip: float | None = None,
    standardised: tuple[float, float] | None = None,
) -> float:
    """Write the patch model with that name or path to `out` as a ZipModel, and return the clip that it scales by.

    along: patches are cut from sections along an `inline`, or along a `crossline`.
    amplitude_clip: the survey's, in OpendTect's units; by default the training survey's, from the card.
    standardised: the mean and the standard deviation that OpendTect scales by, for `predict` to undo. By default it is
    asked to scale nothing.

    Raises ModelNotFoundError, ModelError: not a patch model with a card. OptionError: no clip, or an option out of its
    range. OutputError: `out` cannot be written.
    """
    path = find_model(model)
    if path.name.endswith(SLICE_SUFFIX):
        raise ModelError(f"{path.name} is a slice model, and dgbpy hands over patches: give it the patch model.")
    _check_options(along, standardised)
    _check_output(out)
    card = Model(path, "cpu").card
    clip = _clip(card, amplitude_clip)
    settings = {
        "patch_size": card.patch_size,
        "along": along,
        "amplitude_clip": clip,
        "standardised": standardised,
    }
    files = {
        "zipmodel.py": (importlib.resources.files("infer.hosts") / "inside" / "zipmodel.py").read_bytes(),
        "modelinfo.json": _json(_info(card, along, standardised)),
        "settings.json": _json(settings),
        "model.onnx": path.read_bytes(),
        "products.onnx": PRODUCTS,
    }
    try:
        with replacing(out) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    except OSError as error:
        raise OutputError(f"{out} cannot be written: {error.strerror}.") from error
    return clip


def _info(card: ModelCard, along: str, standardised: tuple[float, float] | None) -> dict[str, Any]:
    """What modelinfo.json says: the keys and values of dgbpy's `ZipModelInfo`; 0 stands for any size."""
    window = card.patch_size // 2 * 2 + 1  # odd, so that there is no doubt which sample is the middle one
    lines = [THICKNESS, window] if along == "inline" else [window, THICKNESS]
    return {
        "platform": "onnx",
        "pred_type": "Classification Data",
        "learn_type": "Seismic Classification",
        "scale_type": "Global Standardization" if standardised else "None",  # a name that dgbpy does not know
        "scale_output": False,
        "num_inputs": 1,
        "num_outputs": len(card.facies_names),
        "input_names": ["Amplitude"],
        "output_names": list(card.facies_names),
        "input_shape": [0, 1, *lines, window],
        "output_shape": [len(card.facies_names), 0],
        "data_format": "channels_first",
        "model_version": card.version,
        "model_name": card.name,
        "platform_version": onnxruntime().__version__,
    }


def _clip(card: ModelCard, asked: float | None) -> float:
    clip = card.amplitude_clip if asked is None else asked
    if clip is None:
        raise OptionError(f"The card of {card.name} has no amplitude clip: give the survey's with --clip.")
    return check_clip(clip)


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=2, ensure_ascii=False).encode()


def _check_options(along: str, standardised: tuple[float, float] | None) -> None:
    if along not in ("inline", "crossline"):
        raise OptionError(f"Patches lie along an inline or a crossline, not along '{along}'.")
    if standardised is not None and not (math.isfinite(standardised[0]) and 0 < standardised[1] < math.inf):
        mean, deviation = standardised
        raise OptionError(f"A mean of {mean:g} and a standard deviation of {deviation:g} are nothing to scale by.")


def _check_output(out: Path) -> None:
    if out.suffix.lower() != ".zip":
        raise OutputError(f"{out.name}: OpendTect knows a ZipModel by its suffix .zip.")
    check_folder(out)
    if out.is_dir():
        raise OutputError(f"{out} cannot be written: it is a folder.")
