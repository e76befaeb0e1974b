"""A patch model as a ZipModel, which OpendTect's machine learning plugin applies by itself.

Source of the format: OpendTect/dgbpy, dgbpy/zipmodelbase.py and keystr.py (Apache 2.0): a zip with `zipmodel.py`, whose
class ZipModel is told to predict, and `modelinfo.json`, the fields of its ZipModelInfo. dgbpy imports the former with
the zip on sys.path, gives `predict` cubelets (..., inline, crossline, z), and takes the facies with the largest of the
probabilities along the first axis, so these are (facies, N). "Global Standardization" without statistics scales by
nothing, so amplitudes arrive as they are and are scaled once, in zipmodel.py.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from infer.card import ModelCard, read_card
from infer.errors import ModelError, OptionError, OutputError
from infer.files import replacing
from infer.models import find_model
from infer.section import LineKind
from infer.sessions import SLICE_SUFFIX

_SOURCE = Path(__file__).with_name("_zipmodel.py")


def write_zipmodel(model: str, path: Path, along: LineKind = "inline", amplitude_clip: float | None = None) -> None:
    """Write a patch model, by name or path, as a ZipModel.

    along: what its patches lie along: `inline` or `crossline`.
    amplitude_clip: the survey's that it is to be applied to; the training survey's by default.

    Raises ModelNotFoundError, ModelError: no patch model with a card, or one that knows no clip. OptionError: neither
    direction. OutputError: it cannot be written there.
    """
    if along not in ("inline", "crossline"):
        raise OptionError(f"Patches lie along an inline or a crossline, not along '{along}'.")
    if path.suffix.lower() != ".zip" or not path.parent.is_dir():
        raise OutputError(f"{path} cannot be written: a ZipModel is a .zip in a folder that is there.")
    source = find_model(model)
    if source.name.endswith(SLICE_SUFFIX):
        raise ModelError(f"{source.name} is a slice model, and OpendTect hands out patches: give its patch model.")
    card = read_card(source)
    clip = amplitude_clip or card.amplitude_clip
    if not clip:
        raise ModelError(f"{card.name} does not say what amplitudes to clip at: give the survey's with --clip.")
    about = {"patch_size": card.patch_size, "amplitude_clip": clip, "facies_names": card.facies_names}
    try:
        with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as files:
            files.write(_SOURCE, "zipmodel.py")
            files.writestr("modelinfo.json", json.dumps(_info(card, along), indent=2))
            files.writestr("about.json", json.dumps(about, indent=2))
            files.write(source, "model.onnx")
    except OSError as error:
        raise OutputError(f"{path} could not be written: {error.strerror or error}.") from error


def _info(card: ModelCard, along: LineKind) -> dict[str, Any]:
    """The fields of dgbpy's ZipModelInfo. A cubelet of an odd size has its centre where everybody looks for it."""
    odd = card.patch_size // 2 * 2 + 1
    shape = [1, 1, odd, odd] if along == "inline" else [1, odd, 1, odd]
    return {
        "platform": "onnx",
        "pred_type": "Classification Data",
        "learn_type": "Seismic Classification",
        "scale_type": "Global Standardization",
        "scale_output": False,
        "num_inputs": 1,
        "num_outputs": len(card.facies_names),
        "input_names": ["Seismic"],
        "output_names": list(card.facies_names),
        "input_shape": shape,
        "output_shape": [len(card.facies_names)],
        "data_format": "channels_first",
        "model_version": card.version,
        "model_name": card.name,
        "platform_version": card.libraries.get("onnx", "unknown"),
    }
