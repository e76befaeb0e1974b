"""What can run a model on this machine, and what cannot, with the reason: one screen of text."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib import metadata

from infer.errors import InferError
from infer.models import DEFAULT_MODEL, list_models, load_model, model_folders
from infer.sessions import cores, cuda_obstacle, onnxruntime

_LIBRARIES = ("facies-edge", "numpy", "numba", "segyio", "onnxruntime", "onnxruntime-gpu", "matplotlib")


def examine() -> str:
    """The report, ready to print."""
    return "\n".join(f"{topic:<17}{text}" for topic, text in _findings())


def _findings() -> Iterator[tuple[str, str]]:
    yield "python", f"{platform.python_version()} on {platform.platform()}"
    for library in _LIBRARIES:
        yield library, _version(library)
    yield "threads", str(cores())
    yield from _providers()
    for folder in model_folders():
        yield "model folder", str(folder)
    names = [found.path.stem for found in list_models()]
    yield "models", ", ".join(names) or "none: run in a clone, or train one with `trainer fit`"


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "not installed"


def _providers() -> Iterator[tuple[str, str]]:
    try:
        offered = onnxruntime().get_available_providers()
    except InferError as error:
        yield "sessions", str(error)
        return
    yield "offered", ", ".join(offered)
    yield "CPU", _trial("cpu")
    obstacle = cuda_obstacle()
    yield "CUDA", f"does not run: {obstacle}" if obstacle else _trial("cuda")


def _trial(device: str) -> str:
    """Run one batch or tile for real: a provider that is offered, or even listed by a session, may still fail at it."""
    try:
        model = load_model(DEFAULT_MODEL, device)
        runner = model.tile_runner(1, 1) if model.engine() == "slice" else model.runner(1)
        runner.run()
    except Exception as error:
        return f"does not run: {error}"
    return f"runs {DEFAULT_MODEL} on {model.device}"
