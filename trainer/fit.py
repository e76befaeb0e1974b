"""Trains one network on the picks of one line and leaves a run folder."""

from __future__ import annotations

import csv
import hashlib
import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator
from numpy.typing import NDArray

from infer.card import ModelCard
from infer.errors import Cancelled, OptionError
from infer.facies import FACIES_COLOURS, FACIES_NAMES
from infer.files import writing
from trainer.dataset import LabelledSection, PatchBatches, TrainingBatches, some_of
from trainer.evaluate import score_parts, write_scores
from trainer.features import FEATURES, trained_part, whole_network
from trainer.names import quoted
from trainer.networks import RANDOM, find_network
from trainer.normalisation import Restate
from trainer.progress import EpochLines
from trainer.recipes import Recipe, find_recipe
from trainer.request import FitRequest, Prepared
from trainer.runs import Run, RunSettings, sha256_of, write_text
from trainer.saved import load_checkpoint, load_network, worth_compiling
from trainer.scores import Scores


def fit(prepared: Prepared, run: Run, say: Callable[[str], None] = lambda _: None, *, live: bool = False) -> Run:
    """Train as requested in the folder of `run`; `say` is told what happens, and `live` draws epochs on the screen.

    A run with a checkpoint goes on from it; of one without, nothing is used.

    Raises OutputError: the run folder takes no more, or another process trains in it. RunError: the checkpoint cannot
    be read. OptionError: initial weights cannot be had, or the loss was never a number. Cancelled: Ctrl-C, with a
    sentence on what is kept. What was trained of a first epoch that did not end goes.
    """
    with run.held():
        try:
            if not run.epochs_done():
                _start(prepared, run, say)
            _train_and_score(prepared, run, say, live)
        except KeyboardInterrupt as stop:
            run.discard_if_untrained()
            raise Cancelled(_what_is_kept(run, prepared.request.network)) from stop
        except BaseException:
            run.discard_if_untrained()
            raise
    return run


def _start(prepared: Prepared, run: Run, say: Callable[[str], None]) -> None:
    """Write down what the run is asked for, and take away the network of a first epoch that did not end."""
    request, section = prepared.request, prepared.section
    run.write_settings(
        RunSettings(
            request,
            section.kind,
            section.number,
            prepared.picks_sha256,
            _initial_weights(request),
            prepared.split.sha256(prepared.placed),
            sha256_of(section),
        )
    )
    run.model.unlink(missing_ok=True)
    frozen_to = find_recipe(request.network, request.recipe).frozen_to
    if frozen_to and request.initial_weights == RANDOM:
        say(
            f"Warning: the layers up to {frozen_to} start from random weights and stay as they are, so that little can "
            "be learnt: give ImageNet's with --weights."
        )


def _what_is_kept(run: Run, network: str) -> str:
    if not run.asked:
        return "Stopped; nothing half-written is left."
    return (
        f"Stopped. To go on after epoch {run.epochs_done()}: `trainer fit {network} --run {quoted(run.folder)} "
        "--resume`."
    )


def _train_and_score(prepared: Prepared, run: Run, say: Callable[[str], None], live: bool) -> None:
    """Leave the network, its scores and its card in the run folder."""
    recipe = find_recipe(prepared.request.network, prepared.request.recipe)
    labelled = LabelledSection.of(prepared.section, prepared.amplitude_clip, prepared.placed)
    started = time.perf_counter()
    model = _train(prepared, recipe, labelled, run, say, live)
    say(f"Trained in {time.perf_counter() - started:.0f} s. Scoring.")

    part, seen = trained_part(model, labelled, recipe, run.folder.parent / FEATURES)
    scores = score_parts(part, seen, prepared.split, recipe.scored)
    write_scores(run, scores)
    run.write_card(_card(prepared, run, recipe, scores, model))
    for path in run.checkpoints():  # nothing to go on with any more
        path.unlink()
    for name, s in scores.items():
        say(f"{name:<10} loss {s.loss:.4f}, accuracy {100 * s.accuracy:.2f} %, MAE {s.mae:.4f}, {s.patches:,} picks")


def _train(
    prepared: Prepared, recipe: Recipe, labelled: LabelledSection, run: Run, say: Callable[[str], None], live: bool
) -> keras.Model:
    """The network with its best weights."""
    request, split, done = prepared.request, prepared.split, run.epochs_done()
    epochs = request.epochs or recipe.epochs
    keras.utils.set_random_seed(request.seed)
    network = _initial(request, run, recipe)
    part, seen = trained_part(network, labelled, recipe, run.folder.parent / FEATURES, recipe.copies, say)
    train = TrainingBatches(
        seen,
        split.train,
        request.patch_size,
        recipe.batch_size,
        seed=request.seed,
        per_epoch=recipe.per_epoch,
        balanced=recipe.balanced,
        augmentation=recipe.augmentation,
    )
    validation = PatchBatches(seen, some_of(split.validation, recipe.validated), request.patch_size)
    model = load_checkpoint(run) if done else _compiled(part, recipe.optimizer(epochs * train.num_batches))
    # The history comes first: it is to be whole also for the epoch that stops the training. The checkpoint comes last:
    # an epoch is done when all of it is kept.
    history = History(run)
    keep = KeepBest(run, recipe.patience, history, network)
    if keep.patience_is_over:  # stopped while it was scored
        return _best(run)
    callbacks = [Draw(train, request.seed), Restate(train, recipe.restated), history, keep, Checkpoint(run)]
    lines = EpochLines(train.patches)
    try:
        with _bfloat16(recipe.bfloat16):
            model.fit(
                train,
                validation_data=validation,
                initial_epoch=done,
                epochs=epochs,
                shuffle=False,  # batches: what each epoch holds is in an order of its own already
                verbose=0,
                callbacks=[*callbacks, lines] if live else callbacks,
            )
    finally:
        lines.close()
    return _best(run)


@contextmanager
def _bfloat16(wanted: bool) -> Iterator[None]:
    """Let TensorFlow multiply in bfloat16, if this is wanted and the processor has it; weights and sums stay float32.

    Half as long again for VGG16, and more for ResNet50, on an AMD EPYC. Scoring stays in float32.
    """
    option = "auto_mixed_precision_onednn_bfloat16"
    tf.config.optimizer.set_experimental_options({option: wanted and _has_bfloat16()})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({option: False})


def _has_bfloat16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:  # not Linux
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def _initial(request: FitRequest, run: Run, recipe: Recipe) -> keras.Model:
    """The network before training, or the best one so far: what is frozen in it is the same."""
    if run.trained:
        return load_network(run)
    network = find_network(request.network).built(request.patch_size, request.initial_weights)
    leave_to_train(network, recipe, request.initial_weights)
    return network


def leave_to_train(network: keras.Model, recipe: Recipe, initial_weights: str) -> None:
    """Freeze what the recipe holds beside what is frozen; nothing where weights are random and so not worth keeping."""
    if initial_weights == RANDOM and recipe.frozen_to is None:
        for layer in network.layers:
            layer.trainable = True
    elif recipe.held_to is not None:
        names = [layer.name for layer in network.layers]
        for layer in network.layers[: names.index(recipe.held_to) + 1]:
            layer.trainable = False


def _compiled(model: keras.Model, optimizer: Any) -> keras.Model:
    model.compile(optimizer, loss="categorical_crossentropy", metrics=["accuracy"], jit_compile=worth_compiling())
    return model


def _best(run: Run) -> keras.Model:
    if not run.model.is_file():
        raise OptionError("The loss was no number from the first epoch on, so nothing was trained.")
    return load_network(run)


class Draw(keras.callbacks.Callback):  # type: ignore[misc]
    """Makes picks, and what dropout drops, depend on seed and epoch alone: a resumed training goes on as it would have.

    Keras has a hook for this in its datasets, and calls it more often than there are epochs.
    """

    def __init__(self, train: TrainingBatches, seed: int) -> None:
        super().__init__()
        self._train, self._seed = train, seed

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002 - Keras' signature
        """Draw the epoch's picks, and set every dropout's generator."""
        self._train.draw(epoch)
        for number, layer in enumerate(self.model.layers):
            if isinstance(layer, keras.layers.Dropout):
                layer.seed_generator.state.assign([(self._seed + number) % 2**32, epoch])


class History(keras.callbacks.Callback):  # type: ignore[misc]
    """Writes the history and its curves after every epoch, so that a long training can be watched."""

    COLUMNS = ("epoch", "loss", "accuracy", "validation_loss", "validation_accuracy", "seconds")

    def __init__(self, run: Run) -> None:
        """The history of a run; one with a checkpoint has a history up to there already."""
        super().__init__()
        self._run = run
        self.rows: list[tuple[float, ...]] = _rows(run)[: run.epochs_done()]
        self._started = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002 - Keras' signature
        """Start the clock."""
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write the rows so far."""
        scores = (logs[key] for key in ("loss", "accuracy", "val_loss", "val_accuracy"))
        self.rows.append((epoch + 1, *scores, round(time.perf_counter() - self._started, 1)))
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.COLUMNS, *self.rows])
        write_text(self._run.history, text.getvalue())
        with writing(self._run.curves) as temporary:
            draw_curves(np.array(self.rows)).savefig(temporary, dpi=100)


class KeepBest(keras.callbacks.Callback):  # type: ignore[misc]
    """Stops when neither validation loss nor accuracy improved for `patience` epochs; keeps the network of least loss.

    What it knows is in the history and in the run folder, so that a resumed training stops where it would have.
    """

    def __init__(self, run: Run, patience: int, history: History, network: keras.Model) -> None:
        """network: the whole network, of which a part may be what is trained."""
        super().__init__()
        self._run, self._patience, self._history, self._network = run, patience, history, network

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002 - Keras' signature
        """Keep the network, or wait, or stop. The history has this epoch's row already."""
        loss = np.array(self._history.rows)[:, 3]
        if loss[-1] < np.fmin.reduce(loss[:-1], initial=np.inf):
            with writing(self._run.model) as temporary:
                whole_network(self._network, self.model).save(temporary, include_optimizer=False)
        if self.patience_is_over:
            self.model.stop_training = True

    @property
    def patience_is_over(self) -> bool:
        """Whether training is to stop, by the history so far."""
        loss, accuracy = np.array(self._history.rows).reshape(-1, len(History.COLUMNS))[:, 3:5].T
        return epochs_since_better(loss, accuracy) >= self._patience


def epochs_since_better(loss: NDArray[np.float64], accuracy: NDArray[np.float64]) -> int:
    """How many epochs ago the loss or the accuracy was better than ever before."""
    since, least, most = 0, np.inf, -np.inf
    for now, right in zip(loss, accuracy, strict=True):
        since = 0 if now < least or right > most else since + 1
        least, most = np.fmin(least, now), np.fmax(most, right)
    return since


class Checkpoint(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps all that training goes on with: what is lost by a kill is the epoch that it was in."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002 - Keras' signature
        """Put a new checkpoint in the place of the old one."""
        old = self._run.checkpoints()
        with writing(self._run.checkpoint(epoch + 1)) as temporary:
            self.model.save(temporary)
        for path in old:
            path.unlink()


def _rows(run: Run) -> list[tuple[float, ...]]:
    if not run.history.is_file():
        return []
    with run.history.open(newline="") as file:
        return [(int(row[0]), *map(float, row[1:])) for row in list(csv.reader(file))[1:]]


def draw_curves(history: np.ndarray[Any, np.dtype[np.float64]]) -> Figure:
    """Loss and accuracy by epoch, from rows of History.COLUMNS."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    epoch = history[:, 0]
    for axes, column, title in ((loss, 1, "cross-entropy"), (accuracy, 2, "accuracy, %")):
        scale = 100 if axes is accuracy else 1
        axes.plot(epoch, scale * history[:, column], ".-", label="training, with dropout and augmentation")
        axes.plot(epoch, scale * history[:, column + 2], ".-", label="validation")
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    loss.set_yscale("log")
    loss.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    loss.yaxis.set_major_formatter("{x:g}")
    loss.yaxis.set_minor_formatter("")
    figure.legend(*loss.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure


def _card(prepared: Prepared, run: Run, recipe: Recipe, scores: dict[str, Scores], model: keras.Model) -> ModelCard:
    request, placed, epochs = prepared.request, prepared.placed, len(_rows(run))
    return ModelCard(
        name=request.name or request.network,
        patch_size=request.patch_size,
        facies_names=FACIES_NAMES,
        facies_colours=FACIES_COLOURS,
        network=request.network,
        amplitude_clip=prepared.amplitude_clip,
        survey=request.survey_name or request.survey.stem,
        polarity=request.polarity,
        training_lines=(f"{placed.kind} {placed.number}",),
        picks={
            "file": ", ".join(path.name for path in request.picks),
            "sha256": prepared.picks_sha256,
            **placed.summary(),
        },
        split=prepared.split.summary(),
        training={
            "recipe": request.recipe,
            "is": recipe.summary,
            "batch_size": recipe.batch_size,
            "epochs": epochs,
            "patches": epochs * min(recipe.per_epoch or prepared.split.train.size, prepared.split.train.size),
            "initial_weights": run.read_settings().initial_weights,
        },
        scores={
            f"{part}_{metric}": round(getattr(s, metric), 6)
            for part, s in scores.items()
            for metric in ("loss", "accuracy", "mae")
        },
        libraries={"tensorflow": tf.__version__, "keras": keras.__version__, "numpy": np.__version__},
        weights_sha256=_weights_sha256(model),
        licence=request.licence,
    )


def _initial_weights(request: FitRequest) -> str:
    """What training started from; a file by its name and its checksum.

    Raises OptionError: the file cannot be read.
    """
    if not request.from_file:
        return request.initial_weights
    file = Path(request.weights)
    try:
        return f"{file.name}, sha256 {hashlib.sha256(file.read_bytes()).hexdigest()}"
    except OSError as error:
        raise OptionError(f"The weights in {file} cannot be read: {error.strerror}.") from error


def _weights_sha256(model: keras.Model) -> str:
    """Of the weights as Keras lists them, float32 and little-endian, whatever file they are in."""
    digest = hashlib.sha256()
    for weights in model.get_weights():
        digest.update(np.ascontiguousarray(weights, "<f4").tobytes())
    return digest.hexdigest()
