"""The live line of each epoch on the screen."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import keras
from rich.console import Console
from rich.progress import Progress, TaskID, TextColumn, TimeRemainingColumn


class EpochLines(keras.callbacks.Callback):  # type: ignore[misc]
    """One line an epoch: loss, accuracy, validation, patches/s, and the time left in it."""

    def __init__(self, patches: int) -> None:
        """`patches`: how many an epoch trains on."""
        super().__init__()
        self._patches = patches
        self._console = Console(stderr=True)
        self._progress: Progress | None = None
        self._task = TaskID(0)
        self._started = self._rate = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002 - Keras' signature
        """Begin a line."""
        self._progress = Progress(
            TextColumn("{task.description}"),
            TextColumn("{task.fields[scores]}"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=self._console,
        )
        title = f"{epoch + 1}/{self.params['epochs']}"
        self._task = self._progress.add_task(title, total=self.params["steps"], scores="")
        self._progress.start()
        self._started = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Move the line on."""
        done = batch + 1
        seconds = time.perf_counter() - self._started
        self._rate = self._patches * done / self.params["steps"] / seconds
        self._show(done, _scores(logs or {}, ""))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002 - Keras' signature
        """End the line."""
        logs = logs or {}
        self._show(self.params["steps"], f"{_scores(logs, '')}, validation {_scores(logs, 'val_')}")
        self.close()

    def _show(self, done: int, scores: str) -> None:
        if self._progress:
            self._progress.update(self._task, completed=done, scores=f"loss {scores}, {self._rate:,.0f} patches/s")

    def close(self) -> None:
        """Leave the terminal as it was, also when training was interrupted."""
        if self._progress:
            self._progress.stop()
            self._progress = None


def _scores(logs: Mapping[str, float], prefix: str) -> str:
    return f"{logs[f'{prefix}loss']:.4f} {100 * logs[f'{prefix}accuracy']:.2f} %"
