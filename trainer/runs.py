"""Run folders: what a training leaves behind, and where the newest one is."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from infer.card import ModelCard
from infer.errors import InferError
from infer.files import replacing
from infer.section import LineKind

RUNS = Path("runs")


class RunError(InferError, ValueError):
    """A run folder that is missing, taken or unfinished."""


@dataclass(frozen=True)
class RunSettings:
    """What a run was asked for. It holds paths of this machine, so it stays out of the model and its card."""

    network: str
    survey: str  # an absolute path
    picks: str  # an absolute path
    line_kind: LineKind
    line_number: int
    epochs: int
    seed: int


@dataclass(frozen=True)
class Run:
    """One run folder. The card is written last: a folder with a card is a finished run."""

    folder: Path

    @property
    def model(self) -> Path:
        """The network with its best weights so far."""
        return self.folder / "model.keras"

    @property
    def history(self) -> Path:
        """Loss and accuracy by epoch."""
        return self.folder / "history.csv"

    @property
    def curves(self) -> Path:
        """The history as a picture."""
        return self.folder / "curves.png"

    @property
    def scores(self) -> Path:
        """The scores on each part of the split."""
        return self.folder / "scores.json"

    @property
    def finished(self) -> bool:
        """Whether the training came to its end."""
        return self._card.is_file() and self.model.is_file()

    @property
    def _card(self) -> Path:
        return self.folder / "card.json"

    @property
    def _settings(self) -> Path:
        return self.folder / "run.json"

    def write_settings(self, settings: RunSettings) -> None:
        """Write what the run was asked for."""
        write_text(self._settings, json.dumps(asdict(settings), indent=2))

    def read_settings(self) -> RunSettings:
        """What the run was asked for.

        Raises RunError: it cannot be read.
        """
        try:
            return RunSettings(**json.loads(self._settings.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise RunError(f"{self._settings} cannot be read: fit the network again.") from error

    def write_card(self, card: ModelCard) -> None:
        """Write the card, which finishes the run."""
        write_text(self._card, json.dumps(json.loads(card.to_json()), indent=2, ensure_ascii=False))

    def read_card(self) -> ModelCard:
        """The card. Raises ModelError: it is not one."""
        return ModelCard.from_json(self._card.read_text(encoding="utf-8"))


def write_text(path: Path, text: str) -> None:
    """Write a text file that appears when it is whole."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def new_run(network: str, folder: Path | None) -> Run:
    """A new, empty run folder: the one given, or `runs/<network>-<date>-<time>`.

    Raises RunError: there is something in it, or it cannot be made.
    """
    folder = folder or RUNS / f"{network}-{datetime.now():%Y%m%d-%H%M%S}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = any(folder.iterdir())
    except OSError as error:
        raise RunError(f"{folder} cannot be a run folder: {error.strerror}.") from error
    if taken:
        raise RunError(f"{folder} is not empty, and a run needs a folder of its own.")
    return Run(folder)


def find_run(network: str, folder: Path | None) -> Run:
    """The finished run in `folder`, or the newest one of that network under `runs/`.

    Raises RunError: there is none, with the command that makes one.
    """
    if folder:
        if not Run(folder).finished:
            raise RunError(f"{folder} holds no finished run. {_how_to_fit(network)}")
        return Run(folder)
    finished = [run for run in map(Run, sorted(RUNS.glob(f"{network}-*"))) if run.finished]
    if not finished:
        raise RunError(f"There is no finished run of {network} under {RUNS}/. {_how_to_fit(network)}")
    return finished[-1]


def _how_to_fit(network: str) -> str:
    return f"Run this first: `trainer fit {network} --survey CUBE.sgy --picks PICKS.ixz`."
