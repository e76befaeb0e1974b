"""Reads the networks that are saved in a run folder."""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile

import keras
import tensorflow as tf

from trainer.runs import Run, RunError


def load_network(run: Run) -> keras.Model:
    """The run's network with its best weights, to infer with.

    Raises RunError: it cannot be read.
    """
    model = _read(run.model, to_train=False)
    model.jit_compile = worth_compiling()  # Keras would, always
    return model


def worth_compiling() -> bool:
    """Whether XLA pays: on a CPU it takes minutes to start, and convolutions are slower then."""
    return bool(tf.config.list_physical_devices("GPU"))


def load_checkpoint(run: Run) -> keras.Model:
    """The network of the run's newest checkpoint, with its optimizer, to go on training.

    Raises RunError: it cannot be read.
    """
    return _read(run.checkpoint(run.epochs_done()), to_train=True)


def _read(path: Path, *, to_train: bool) -> keras.Model:
    try:
        return keras.models.load_model(path, compile=to_train)
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise RunError(f"{path} cannot be read: fit the network again.") from error
