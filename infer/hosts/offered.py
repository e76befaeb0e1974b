"""The models that the service and Triton offer: a name for each .onnx file, its tensors, and how it answers."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infer.card import ModelCard
from infer.classification import classify
from infer.errors import OptionError
from infer.hosts.open_inference import RequestError, Tensor
from infer.models import find_model, load_model, slice_model_of
from infer.section import Section
from infer.sessions import SLICE_SUFFIX, Engine, Model
from infer.workers import work_through

VERSION = "1"
SLICE_NAME = "_slice"
"""What the name of a slice model ends with, after its patch model's."""
REQUEST_BYTES = 16 * 1024 * 1024
"""The most patches of one request."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Offered:
    """A patch model or a slice model under a name."""

    name: str
    path: Path
    model: Model
    engine: Engine
    no_slice_reason: str = ""
    """Of a patch model: why the slice model beside it is not offered."""

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Its inputs, as `Model` has made sure that the file has them. A scalar has the shape [1], as with Triton."""
        size = self.model.card.patch_size
        if self.engine == "patch":
            return (Tensor("patches", "FP32", (-1, size, size)),)
        return Tensor("section", "FP32", (-1, -1)), Tensor("amplitude_clip", "FP32", (1,), optional=True)

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """Its outputs, likewise."""
        facies = len(self.model.card.facies_names)
        if self.engine == "patch":
            return (Tensor("probabilities", "FP32", (-1, facies)),)
        return Tensor("facies", "INT8", (-1, -1)), Tensor("probabilities", "FP32", (facies, -1, -1))

    @property
    def max_batch(self) -> int:
        """The most patches of one request; 0 for a slice model, which takes one section."""
        if self.engine == "slice":
            return 0
        return max(1, REQUEST_BYTES // (4 * self.model.card.patch_size**2))

    def answer(self, inputs: Mapping[str, NDArray[Any]], cancel: threading.Event) -> dict[str, NDArray[Any]]:
        """Outputs for inputs, by name.

        Raises RequestError, OptionError: inputs without an answer. Cancelled: `cancel` was set. DeviceError,
        ModelError: see `classify`.
        """
        if self.engine == "patch":
            return {"probabilities": _classify_patches(inputs["patches"], self.model, self.max_batch, cancel)}
        clip = inputs.get("amplitude_clip", np.array([default_clip(self.model.card)]))
        result = classify(Section.from_amplitude(inputs["section"]), self.model, float(clip[0]), cancel=cancel)
        return {"facies": result.facies, "probabilities": result.probabilities}


def offer(models: Iterable[str | Path], device: str = "auto") -> list[Offered]:
    """Every model by its file's name, and the slice model beside it as NAME_slice; all with their sessions started.

    Raises OptionError: a name twice, or one that cannot stand in an address. Otherwise as `load_model`.
    """
    offered: dict[str, Offered] = {}
    for one in (one for model in models for one in _offers_of(model, device)):
        if one.name in offered:
            raise OptionError(f"Two models would be offered as '{one.name}': {offered[one.name].path} and {one.path}.")
        if not _NAME.fullmatch(one.name):
            raise OptionError(
                f"A model is offered under its file's name, and '{one.name}' has more than letters, digits, '-', '_' "
                "and '.': rename the file."
            )
        offered[one.name] = one
    return list(offered.values())


def default_clip(card: ModelCard) -> float:
    """The `amplitude_clip` of a slice model that is given none: its card's."""
    return card.amplitude_clip or 1.0


def _offers_of(model: str | Path, device: str) -> Iterable[Offered]:
    path = find_model(model)
    if path.name.endswith(SLICE_SUFFIX):
        name = path.name.removesuffix(SLICE_SUFFIX) + SLICE_NAME
        yield Offered(name, path, load_model(path, device), "slice")
        return
    patch_model = load_model(path, device, "patch")
    beside = slice_model_of(path, patch_model.card)
    yield Offered(path.stem, path, patch_model, "patch", beside.reason if beside else "")
    if beside and not beside.reason:
        yield Offered(path.stem + SLICE_NAME, beside.path, load_model(path, device, "slice"), "slice")


def _classify_patches(
    patches: NDArray[np.float32],  # [patch, trace, sample]
    model: Model,
    most: int,
    cancel: threading.Event,
) -> NDArray[np.float32]:
    """Probabilities `[patch, facies]` of scaled patches."""
    count = len(patches)
    if count > most:
        raise RequestError(f"The request has {count:,} patches, and {most:,} is the most at a time.")
    if not np.isfinite(patches).all():
        raise RequestError("The input `patches` has values that are NaN or infinite; zero is silence.")
    size = model.batch_size(count)
    probabilities = np.empty((count, len(model.card.facies_names)), np.float32)

    def start_worker() -> Callable[[int], int]:
        runner = model.runner(size)

        def classify_batch(first: int) -> int:
            batch = patches[first : first + size]
            runner.input[: len(batch)] = batch
            probabilities[first : first + size] = runner.run()[: len(batch)]
            return len(batch)

        return classify_batch

    firsts = range(0, count, size)
    work_through(firsts, start_worker, min(model.workers, len(firsts)), count, cancel=cancel)
    return probabilities
