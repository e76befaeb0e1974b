"""The zipmodel.py of a ZipModel: patches of cubelets that dgbpy hands over, through an ONNX model in the same zip.

`infer host opendtect-zip` copies this file as it is. It runs in OpendTect's Python, with numpy, onnxruntime and dgbpy.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from dgbpy.zipmodelbase import ZipModelInfo, ZipPredictModel
from numpy.typing import ArrayLike, NDArray

BATCH = 128
UNDEFINED = 1e29
"""OpendTect's undefined value is 1e30; standardised and back, it is no longer exact."""


def _read(name: str) -> bytes:
    """A file beside this one, be that in a zip or in a folder."""
    content: bytes = __loader__.get_data(str(Path(__file__).with_name(name)))  # type: ignore[name-defined]
    return content


def _products_saturate() -> bool:
    """Whether onnxruntime adds products of uint8 and int8 in 16 bits here, as `infer.sessions` asks it."""
    session = onnxruntime.InferenceSession(_read("products.onnx"), providers=["CPUExecutionProvider"])
    largest = {"a": np.full((16, 64), 255, np.uint8), "b": np.full((64, 16), 127, np.int8)}
    return bool((session.run(None, largest)[0] != 64 * 255 * 127).any())


class ZipModel(ZipPredictModel):  # type: ignore[misc]
    """A patch model, and which patch of a cubelet it takes at which scale."""

    modelinfo = ZipModelInfo(
        # dgbpy counts the names itself
        **{key: value for key, value in json.loads(_read("modelinfo.json")).items() if not key.startswith("num_")}
    )

    def __init__(self, params: dict[str, Any] | None = None) -> None:  # noqa: ARG002 - dgbpy's signature
        settings = json.loads(_read("settings.json"))
        self.patch_size: int = settings["patch_size"]
        self.across: int = {"inline": -3, "crossline": -2}[settings["along"]]
        self.amplitude_clip = np.float32(settings["amplitude_clip"])
        self.standardised: tuple[float, float] | None = settings["standardised"]
        options = onnxruntime.SessionOptions()
        if _products_saturate():
            options.add_session_config_entry("session.x64quantprecision", "1")  # half as fast in int8, and exact
        cuda = [name for name in onnxruntime.get_available_providers() if name == "CUDAExecutionProvider"]
        providers = [*cuda, "CPUExecutionProvider"]
        self.session = onnxruntime.InferenceSession(_read("model.onnx"), options, providers=providers)

    def predict(self, model_input: ArrayLike, params: dict[str, Any] | None = None) -> NDArray[np.float32]:  # noqa: ARG002
        """Probabilities `[facies, cubelet]` of cubelets `[..., inline, crossline, sample]`.

        Raises ValueError: cubelets of another size than modelinfo.json asks for.
        """
        patches = self._patches(np.asarray(model_input, np.float32))
        facies = self.session.get_outputs()[0].shape[1]
        probabilities = np.empty((facies, len(patches)), np.float32)
        for start in range(0, len(patches), BATCH):
            batch = self._scaled(patches[start : start + BATCH])
            probabilities[:, start : start + BATCH] = self.session.run(None, {"patches": batch})[0].T
        return probabilities

    def _patches(self, cubelets: NDArray[np.float32]) -> NDArray[np.float32]:
        """The patch `[cubelet, trace, sample]` in the middle of each cubelet.

        Cubelets are odd, so that their middle is a sample; an even patch ends one trace and one sample earlier.
        """
        window = self.patch_size // 2 * 2 + 1
        if cubelets.ndim < 3 or np.delete(cubelets.shape[-3:], self.across).tolist() != [window, window]:
            axis = "inline" if self.across == -3 else "crossline"
            raise ValueError(
                f"Cubelets should have {window} traces of {window} samples along the {axis}, and these have the shape "
                f"{cubelets.shape}."
            )
        planes = cubelets.take(cubelets.shape[self.across] // 2, self.across)
        patches: NDArray[np.float32] = planes.reshape(-1, window, window)[:, : self.patch_size, : self.patch_size]
        return patches

    def _scaled(self, patches: NDArray[np.float32]) -> NDArray[np.float32]:
        """Amplitudes as the model takes them, ±amplitude_clip as ±1; those that are undefined are silence."""
        amplitude = np.array(patches)  # a copy: what dgbpy handed over stays as it is
        if self.standardised:
            mean, deviation = self.standardised
            amplitude = amplitude * np.float32(deviation) + np.float32(mean)
        with np.errstate(invalid="ignore"):
            amplitude[~(np.abs(amplitude) < UNDEFINED)] = 0
        scaled: NDArray[np.float32] = np.clip(amplitude / self.amplitude_clip, -1, 1)
        return scaled
