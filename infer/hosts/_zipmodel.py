"""Seismic facies in OpendTect's machine learning plugin: cubelets in, probabilities out.

`infer host opendtect-zip` puts this file into a zip as zipmodel.py, beside the .onnx file that it runs. There it needs
numpy, onnxruntime and OpendTect's own dgbpy.
"""

import json
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
from dgbpy.zipmodelbase import ZipPredictModel

UNDEFINED = 1e30
BATCH = 32


class ZipModel(ZipPredictModel):  # type: ignore[misc, unused-ignore]
    """One facies model, as dgbpy asks for it."""

    def __init__(self, params=None):  # type: ignore[no-untyped-def]  # noqa: ARG002 - dgbpy's signature
        """Read the model from the zip that this file is in."""
        with zipfile.ZipFile(Path(__file__).parent) as files:
            self._about = json.loads(files.read("about.json"))
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            providers = onnxruntime.get_available_providers()
            wanted = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in providers]
            self._session = onnxruntime.InferenceSession(files.read("model.onnx"), options, providers=wanted)

    @classmethod
    def info(cls):  # type: ignore[no-untyped-def]
        """What dgbpy shows of the model."""
        with zipfile.ZipFile(Path(__file__).parent) as files:
            return files.read("modelinfo.json").decode()

    def predict(self, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ARG002 - dgbpy's signature
        """Probabilities `(facies, N)` of N cubelets with the axes (..., inline, crossline, z), one of them of length 1.

        A cubelet of an odd size around its centre has one trace and one sample more than a patch of an even size: the
        last ones. Amplitudes are as they are in the survey; undefined ones count as silence.
        """
        size, clip = self._about["patch_size"], np.float32(self._about["amplitude_clip"])
        cubelets = np.asarray(model_input, np.float32)
        cubelets = cubelets.reshape(-1, *cubelets.shape[-3:])
        across = 1 if cubelets.shape[1] == 1 else 2
        if cubelets.shape[across] != 1 or cubelets.shape[3 - across] < size or cubelets.shape[3] < size:
            inlines, crosslines, samples = cubelets.shape[1:]
            raise ValueError(
                f"This model takes cubelets of one inline or one crossline with {size} traces and samples and more, "
                f"not of {inlines} inlines, {crosslines} crosslines and {samples} samples."
            )
        patches = cubelets.squeeze(across)[:, :size, :size]
        with np.errstate(invalid="ignore"):
            patches = np.where(np.abs(patches) < UNDEFINED, patches, np.float32(0))
        patches = np.clip(patches / clip, -1, 1)
        batches = (patches[start : start + BATCH] for start in range(0, len(patches), BATCH))
        found = [self._session.run(["probabilities"], {"patches": np.ascontiguousarray(batch)})[0] for batch in batches]
        return np.concatenate(found).T if found else np.empty((len(self._about["facies_names"]), 0), np.float32)
