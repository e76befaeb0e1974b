"""Trains one network on the picks of one line and leaves a run folder."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from infer.card import ModelCard
from infer.errors import Cancelled, OptionError
from infer.facies import FACIES_COLOURS, FACIES_NAMES
from trainer.dataset import LabelledSection, PatchBatches
from trainer.evaluate import Scores, score_parts
from trainer.networks import Network, find_network
from trainer.progress import EpochLines
from trainer.request import FitRequest, Prepared
from trainer.runs import Run, RunSettings, new_run, write_text, writing
from trainer.splits import Split

PATIENCE = 3


def fit(prepared: Prepared, say: Callable[[str], None] = lambda _: None, *, live: bool = False) -> Run:
    """Train as requested; `say` is told what happens, and `live` draws each epoch on the screen.

    Raises RunError: before anything is trained. OutputError: the run folder takes no more. OptionError: the loss was
    never a number. Cancelled: Ctrl-C, with a sentence on what is kept. A folder with nothing of a network in it goes.
    """
    request, section = prepared.request, prepared.section
    run = new_run(request.network, request.run)
    try:
        paths = str(request.survey.resolve()), str(request.picks.resolve())
        run.write_settings(
            RunSettings(request.network, *paths, section.kind, section.number, request.epochs, request.seed)
        )
        _train_and_score(prepared, run, say, live)
    except KeyboardInterrupt as stop:
        run.discard_if_untrained()
        raise Cancelled(_what_is_kept(run)) from stop
    except BaseException:
        run.discard_if_untrained()
        raise
    return run


def _what_is_kept(run: Run) -> str:
    if not run.model.is_file():
        return "Stopped; nothing half-written is left."
    return (
        f"Stopped; the best network so far is kept in {run.model}. "
        "The run is unfinished, and `trainer export` takes finished ones only."
    )


def _train_and_score(prepared: Prepared, run: Run, say: Callable[[str], None], live: bool) -> None:
    """Leave the network, its scores and its card in the run folder."""
    request, split = prepared.request, prepared.split
    network = find_network(request.network)
    labelled = LabelledSection.of(prepared.section, prepared.amplitude_clip, prepared.placed)
    started = time.perf_counter()
    model = _train(network, labelled, split, request, run, live)
    say(f"Trained in {time.perf_counter() - started:.0f} s. Scoring all picks.")

    scores = score_parts(model, labelled, split)
    write_text(run.scores, json.dumps({part: asdict(s) for part, s in scores.items()}, indent=2))
    run.write_card(_card(prepared, network, scores, model))
    for part, s in scores.items():
        say(f"{part:<10} loss {s.loss:.4f}, accuracy {100 * s.accuracy:.2f} %, MAE {s.mae:.4f}, {s.patches:,} picks")


def _train(
    network: Network, labelled: LabelledSection, split: Split, request: FitRequest, run: Run, live: bool
) -> keras.Model:
    """The network with its best weights."""
    keras.utils.set_random_seed(request.seed)
    model = network.compiled()
    train = PatchBatches(labelled, split.train, network.patch_size, shuffle_seed=request.seed)
    validation = PatchBatches(labelled, split.validation, network.patch_size)
    # The history comes first: it is to be whole also for the epoch that stops the training.
    callbacks = [History(run), KeepBest(run)]
    lines = EpochLines(split.train.size)
    try:
        model.fit(
            train,
            validation_data=validation,
            epochs=request.epochs,
            verbose=0,
            callbacks=[*callbacks, lines] if live else callbacks,
        )
    finally:
        lines.close()
    return model


class KeepBest(keras.callbacks.Callback):  # type: ignore[misc]
    """Stops when neither validation loss nor accuracy improved for `PATIENCE` epochs; keeps the weights of least loss.

    The best network so far is always in the run folder, and in the model when training ends.
    """

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run
        self._least_loss, self._most_accuracy = np.inf, -np.inf
        self._waited = 0
        self._best: list[Any] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002 - Keras' signature
        """Keep the weights, or wait, or stop."""
        loss, accuracy = logs["val_loss"], logs["val_accuracy"]
        improved = loss < self._least_loss or accuracy > self._most_accuracy
        self._waited = 0 if improved else self._waited + 1
        self._most_accuracy = max(accuracy, self._most_accuracy)
        if loss < self._least_loss:
            self._least_loss = loss
            self._best = self.model.get_weights()
            with writing(self._run.model) as temporary:
                self.model.save(temporary)
        if self._waited >= PATIENCE:
            self.model.stop_training = True

    def on_train_end(self, logs: Any = None) -> None:  # noqa: ARG002 - Keras' signature
        """Take the best weights again. There are none if the loss was never a number."""
        if not self._best:
            raise OptionError("The loss was no number from the first epoch on, so nothing was trained.")
        self.model.set_weights(self._best)


class History(keras.callbacks.Callback):  # type: ignore[misc]
    """Writes the history and its curves after every epoch, so that a long training can be watched."""

    COLUMNS = ("epoch", "loss", "accuracy", "validation_loss", "validation_accuracy", "seconds")

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run
        self._rows: list[tuple[float, ...]] = []
        self._started = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002 - Keras' signature
        """Start the clock."""
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write the rows so far."""
        scores = (logs[key] for key in ("loss", "accuracy", "val_loss", "val_accuracy"))
        self._rows.append((epoch + 1, *scores, round(time.perf_counter() - self._started, 1)))
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.COLUMNS, *self._rows])
        write_text(self._run.history, text.getvalue())
        with writing(self._run.curves) as temporary:
            draw_curves(np.array(self._rows)).savefig(temporary, dpi=100)


def draw_curves(history: np.ndarray[Any, np.dtype[np.float64]]) -> Figure:
    """Loss and accuracy by epoch, from rows of History.COLUMNS."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    epoch = history[:, 0]
    for axes, column, title in ((loss, 1, "cross-entropy"), (accuracy, 2, "accuracy, %")):
        scale = 100 if axes is accuracy else 1
        axes.plot(epoch, scale * history[:, column], ".-", label="training, with dropout")
        axes.plot(epoch, scale * history[:, column + 2], ".-", label="validation")
        axes.set(title=title, xlabel="epoch")
        axes.grid(alpha=0.3)
    loss.set_yscale("log")
    loss.legend()
    return figure


def _card(prepared: Prepared, network: Network, scores: dict[str, Scores], model: keras.Model) -> ModelCard:
    request, placed = prepared.request, prepared.placed
    return ModelCard(
        name=request.name or network.name,
        patch_size=network.patch_size,
        facies_names=FACIES_NAMES,
        facies_colours=FACIES_COLOURS,
        network=network.name,
        amplitude_clip=prepared.amplitude_clip,
        survey=request.survey_name or request.survey.stem,
        polarity=request.polarity,
        training_lines=(f"{placed.kind} {placed.number}",),
        picks={"file": request.picks.name, "sha256": prepared.picks_sha256, **placed.summary()},
        split=prepared.split.summary(),
        scores={
            f"{part}_{metric}": round(getattr(s, metric), 6)
            for part, s in scores.items()
            for metric in ("loss", "accuracy", "mae")
        },
        libraries={"tensorflow": tf.__version__, "keras": keras.__version__, "numpy": np.__version__},
        weights_sha256=_weights_sha256(model),
        licence=request.licence,
    )


def _weights_sha256(model: keras.Model) -> str:
    """Of the weights as Keras lists them, float32 and little-endian, whatever file they are in."""
    digest = hashlib.sha256()
    for weights in model.get_weights():
        digest.update(np.ascontiguousarray(weights, "<f4").tobytes())
    return digest.hexdigest()
