"""Run folders: what a training leaves behind, and where the newest one is."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from infer.card import ModelCard
from infer.errors import InferError, LineNotFoundError, OutputError, SurveyNotFoundError
from infer.files import writing
from infer.journal import held
from infer.section import LineKind, Section
from trainer.names import check_network, numbered, quoted
from trainer.pick_files import PicksError
from trainer.pick_sources import sha256
from trainer.request import FitRequest, HeaderBytes, Prepared, prepare

RUNS = Path("runs")

_CHECKPOINT = re.compile(r"epoch-([0-9]{4,})\.keras")


class RunError(InferError, ValueError):
    """A run folder that is missing, taken or unfinished."""


@dataclass(frozen=True)
class RunSettings:
    """What a run was asked for, and the line that it is trained on. It stays out of the model: it holds paths."""

    request: FitRequest
    line_kind: LineKind
    line_number: int
    picks_sha256: str
    initial_weights: str = ""  # what training started from, for the card
    split_sha256: str = ""  # of the placed picks and of which are for what; "" where a run does not know it
    section_sha256: str = ""  # of the line's amplitudes; likewise

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**vars(self), "request": self.request.to_json()}

    @classmethod
    def from_json(cls, entries: dict[str, Any]) -> RunSettings:
        """What `to_json` gave.

        Raises KeyError, TypeError: it is something else.
        """
        return cls(**entries | {"request": FitRequest.from_json(entries["request"])})


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

    def checkpoint(self, epoch: int) -> Path:
        """All that training goes on with after so many epochs: weights, the optimizer and its place."""
        return self.folder / f"epoch-{epoch:04}.keras"

    def epochs_done(self) -> int:
        """After how many epochs the newest checkpoint was left; 0 if there is none."""
        return max((int(path.stem.removeprefix("epoch-")) for path in self.checkpoints()), default=0)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from training here, where the file system has locks.

        Raises OutputError: another one does, or the folder takes no file.
        """
        lock = self.folder / ".lock"
        try:
            lock.touch()
        except OSError as error:
            raise OutputError(f"{self.folder} takes no file: {error.strerror}.") from error
        with held(lock):
            try:
                yield
            finally:
                with suppress(OSError):
                    lock.unlink()
                    if not any(self.folder.iterdir()):  # of a training that left nothing
                        self.folder.rmdir()

    @property
    def trained(self) -> bool:
        """Whether it holds a network of one whole epoch at least, and not of one that was stopped before its end."""
        return self.finished or (self.epochs_done() > 0 and self.model.is_file())

    def checkpoints(self) -> list[Path]:
        """All checkpoints."""
        return [path for path in self.folder.glob("epoch-*.keras") if _CHECKPOINT.fullmatch(path.name)]

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

    @property
    def asked(self) -> bool:
        """Whether a training was ever asked for here."""
        return self._settings.is_file()

    @property
    def since_ns(self) -> int:
        """When the training came to its end; when it was asked for if it did not."""
        return (self._card if self.finished else self._settings).stat().st_mtime_ns

    def write_settings(self, settings: RunSettings) -> None:
        """Write what the run was asked for."""
        write_text(self._settings, json.dumps(settings.to_json(), indent=2))

    def read_settings(self) -> RunSettings:
        """What the run was asked for.

        Raises RunError: it cannot be read.
        """
        try:
            return RunSettings.from_json(json.loads(self._settings.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise RunError(f"{self._settings} cannot be read: fit the network again.") from error

    def write_card(self, card: ModelCard) -> None:
        """Write the card, which finishes the run."""
        write_text(self._card, json.dumps(json.loads(card.to_json()), indent=2, ensure_ascii=False))

    def read_card(self) -> ModelCard:
        """The card.

        Raises RunError: it cannot be read. ModelError: it is not one.
        """
        try:
            text = self._card.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(f"{self._card} cannot be read: fit the network again.") from error
        return ModelCard.from_json(text)

    def discard_if_untrained(self) -> None:
        """Remove what a training left that did not end its first epoch."""
        if self.finished or self.epochs_done():
            return
        with suppress(OSError):
            for path in (self._settings, self.model, self.history, self.curves):
                path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file that appears when it is whole.

    Raises OutputError: the disk or the folder does not take it.
    """
    with writing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def check_vacant(folder: Path | None) -> None:
    """Raise RunError where there is something in the folder, or something that is no folder."""
    try:
        taken = folder is not None and folder.exists() and any(folder.iterdir())
    except OSError as error:
        raise RunError(f"{folder} cannot be a run folder: {error.strerror}.") from error
    if taken:
        raise RunError(f"{folder} is not empty, and a run needs a folder of its own.")


def new_run(network: str, folder: Path | None) -> Run:
    """A new, empty run folder: the one given, or `runs/<network>-<date>-<time>`.

    Raises RunError: there is something in it, or it cannot be made.
    """
    check_vacant(folder)
    places = iter([folder]) if folder else map(RUNS.joinpath, numbered(f"{network}-{datetime.now():%Y%m%d-%H%M%S}"))
    for place in places:
        try:
            place.mkdir(parents=True, exist_ok=place == folder)
        except FileExistsError:  # of another training that was begun in the same second
            continue
        except OSError as error:
            raise RunError(f"{place} cannot be a run folder: {error.strerror}.") from error
        return Run(place)
    raise RunError(f"{folder} cannot be a run folder: it is a file.")  # since it was looked at


def find_unfinished_run(network: str, folder: Path | None) -> Run:
    """The run in `folder` to go on with, or the newest unfinished one of that network under `runs/`.

    Raises OptionError: there is no such network. RunError: there is no such run, or it is finished.
    """
    check_network(network)
    run = Run(folder) if folder else _newest_run(network, finished=False)
    if run is None:
        raise RunError(f"There is no unfinished run of {network} under {RUNS}/ to go on with.")
    if not run.asked:
        raise RunError(f"{folder} is no run folder: `trainer fit` makes them, under {RUNS}/ unless told otherwise.")
    if run.finished:
        raise RunError(f"{folder} holds a finished run: there is nothing to go on with.")
    _check_is_of(network, run, "To go on with it: `trainer fit {0} --run {1} --resume`.")
    return run


def prepare_again(
    run: Run,
    survey: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
    header_bytes: HeaderBytes = (None, None),
) -> Prepared:
    """What the run was trained on, read and split as it was then; `say` is told what became of the picks.

    survey: where the survey is, if it has moved since. header_bytes: where its line numbers are then.

    Raises RunError: picks or amplitudes are not what they were, do not lie on the survey, or are split in another way.
    SurveyNotFoundError, with how to say where the survey is. And what `prepare` raises.
    """
    settings = run.read_settings()
    request = settings.request.moved(survey, header_bytes)
    if sha256(request.picks, request.legend) != settings.picks_sha256:
        raise RunError(f"The picks have changed since {run.folder} was trained on them: fit the network again.")
    try:
        prepared = prepare(request, say, weights_needed=not run.trained)
    except SurveyNotFoundError as error:
        raise SurveyNotFoundError(
            f"The survey that {run.folder} was trained on is not at {request.survey} any more. Say where it is with "
            "`--survey CUBE.sgy`."
        ) from error
    except (LineNotFoundError, PicksError) as error:  # on their own survey these picks were trained on
        raise RunError(
            f"{request.survey} is not the survey that {run.folder} was trained on: the picks do not lie on it. Say "
            "where that survey is with `--survey CUBE.sgy`."
        ) from error
    if settings.split_sha256 not in ("", prepared.split.sha256(prepared.placed)):
        raise RunError(
            f"On {request.survey} the picks are not placed and split as they were when {run.folder} was trained on "
            "them: it may be tested on picks that it was trained on. Say where the survey of then is with "
            "`--survey CUBE.sgy`, or fit the network again."
        )
    check_amplitudes(run, prepared.section, request.survey)
    return prepared


def check_amplitudes(run: Run, section: Section, survey: Path) -> None:
    """Raise RunError where the line has not the amplitudes that the run was trained on."""
    if run.read_settings().section_sha256 not in ("", sha256_of(section)):
        raise RunError(
            f"{section.kind.capitalize()} {section.number} of {survey} has other amplitudes than {run.folder} was "
            "trained on. Say where the survey of then is with `--survey CUBE.sgy`, or fit the network again."
        )


def sha256_of(section: Section) -> str:
    """Of a line's amplitudes."""
    return hashlib.sha256(np.ascontiguousarray(section.amplitude, "<f4").tobytes()).hexdigest()


def find_run(network: str, folder: Path | None) -> Run:
    """The finished run in `folder`, or the newest one of that network under `runs/`.

    Raises OptionError: there is no such network. RunError: it has no such run, with the command that makes one.
    """
    check_network(network)
    try:
        run = Run(folder) if folder else _newest_run(network, finished=True)
        if run is None or not run.finished:
            raise RunError(_no_finished_run(network, folder))
    except OSError as error:
        raise RunError(f"{folder or RUNS} cannot be read: {error.strerror}.") from error
    _check_is_of(network, run, "To export it: `trainer export {0} --run {1}`.")
    return run


def _newest_run(network: str, *, finished: bool) -> Run | None:
    runs = [run for run in map(Run, RUNS.glob("*")) if run.finished == finished and _is_of(network, run)]
    return max(runs, key=lambda run: (run.since_ns, run.folder.name), default=None)


def _is_of(network: str, run: Run) -> bool:
    try:
        return run.read_settings().request.network == network
    except RunError:
        return False


def _check_is_of(network: str, run: Run, what_to_do: str) -> None:
    fitted = run.read_settings().request.network
    if fitted != network:
        raise RunError(
            f"{run.folder} is a run of {fitted}, not of {network}. {what_to_do.format(fitted, quoted(run.folder))}"
        )


def _no_finished_run(network: str, folder: Path | None) -> str:
    none = f"{folder} holds no finished run." if folder else f"There is no finished run of {network} under {RUNS}/."
    unfinished = Run(folder) if folder else _newest_run(network, finished=False)
    fit = f"`trainer fit {network} --survey CUBE.sgy --picks PICKS.ixz`"
    if unfinished and _is_of(network, unfinished):
        resume = f"`trainer fit {network} --run {quoted(unfinished.folder)} --resume`"
        return f"{none} If the training in {unfinished.folder} was stopped, go on: {resume}. Or fit anew: {fit}."
    return f"{none} Run this first: {fit}."
