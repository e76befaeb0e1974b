"""Seismic facies for whole lines of a SEG-Y survey: the runtime, light enough to live inside a host program.

>>> import tempfile
>>> from pathlib import Path
>>> import infer
>>> from infer.demo import write_demo                       # two inlines of a synthetic survey, to have a file
>>> folder = Path(tempfile.mkdtemp())
>>> cube = write_demo(folder, inlines=range(300, 302)).survey

>>> survey = infer.open_survey(cube)
>>> str(survey.inlines), str(survey.crosslines), survey.n_samples
('from 300 to 301', 'from 400 to 631', 256)
>>> line = survey.read_inline(300)
>>> model = infer.load_model("demo", device="cpu")
>>> result = infer.classify(line, model, survey.amplitude_clip)
>>> result.facies.shape, result.probabilities.shape, result.confidence.shape
((232, 256), (9, 232, 256), (232, 256))
>>> result.facies_names[int(result.facies[10, 10])]
'low_coherency'
>>> infer.write(result, folder / "inline_300.npz")
>>> infer.write(result, folder / "inline_300.sgy", survey)  # the line's own headers, facies as samples
>>> sorted(path.name for path in folder.glob("inline_300.*"))
['inline_300.npz', 'inline_300.sgy']
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infer.card import ModelCard as ModelCard
    from infer.classification import classify as classify
    from infer.errors import Cancelled as Cancelled
    from infer.errors import InferError as InferError
    from infer.models import list_models as list_models
    from infer.models import load_model as load_model
    from infer.section import FaciesSection as FaciesSection
    from infer.section import Section as Section
    from infer.sessions import Model as Model
    from infer.survey import Survey as Survey
    from infer.survey import open_survey as open_survey
    from infer.writers import write as write

_HOMES = {
    "Cancelled": "infer.errors",
    "FaciesSection": "infer.section",
    "InferError": "infer.errors",
    "Model": "infer.sessions",
    "ModelCard": "infer.card",
    "Section": "infer.section",
    "Survey": "infer.survey",
    "classify": "infer.classification",
    "list_models": "infer.models",
    "load_model": "infer.models",
    "open_survey": "infer.survey",
    "write": "infer.writers",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: numba and onnxruntime take longer than a `--help` may."""
    if name not in _HOMES:
        raise AttributeError(f"module 'infer' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
