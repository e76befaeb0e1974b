"""Runs that hold a network, finished or not, and what each was trained on: all that TensorFlow is not needed for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from trainer.names import CONTEXT
from trainer.request import FitRequest, HeaderBytes, Prepared
from trainer.runs import Run, RunError, prepare_again

_TESTED_ON = {
    "random": "Nearly every test pick touches a training pick: these scores say how well the network knows this line, "
    "not how well it would know another.",
    "blocked": "The test picks are on ground that the network has not seen: no training patch shows a trace of theirs.",
}
"""What the scores of a split are worth, by its name."""


@dataclass(frozen=True, eq=False)
class Trained:
    """A run that holds a network, and what it was trained on."""

    run: Run
    prepared: Prepared

    @property
    def request(self) -> FitRequest:
        """What the run was asked for."""
        return self.prepared.request

    @property
    def name(self) -> str:
        """The run folder's."""
        return self.run.folder.resolve().name

    @property
    def title(self) -> str:
        """What this is, in a line."""
        asked, placed = self.request, self.prepared.placed
        unfinished = "" if self.run.finished else ", unfinished"
        return (
            f"{self.name}: {asked.network}, {asked.recipe} recipe, {asked.split} split of {placed.kind} "
            f"{placed.number}{unfinished}"
        )

    @property
    def caveats(self) -> tuple[str, ...]:
        """Sentences on what to know before believing the scores."""
        unfinished = "" if self.run.finished else "The training is unfinished: this is its best network so far."
        return tuple(sentence for sentence in (unfinished, self._tested_on) if sentence)

    @property
    def _tested_on(self) -> str:
        context = CONTEXT[self.request.network] // 2
        if context and self.request.split == "blocked":
            return (
                "The test picks are on ground whose facies the network has not seen: a training patch shows their "
                f"amplitudes at most, in its {context} traces of context on either side."
            )
        return _TESTED_ON.get(self.request.split, "")


def find_trained(
    folders: Iterable[Path],
    survey: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
    header_bytes: HeaderBytes = (None, None),
) -> list[Trained]:
    """The runs in `folders`, each once, with their picks read and split as they were.

    survey: where the survey is, if it has moved since; header_bytes: where its line numbers are then. `say` is told
    what became of the picks, everything once.

    Raises RunError: a folder holds no network, or its picks have changed. And what `prepare_again` raises.
    """
    said: set[str] = set()

    def say_once(sentence: str) -> None:
        if sentence not in said:
            said.add(sentence)
            say(sentence)

    runs = [_run_in(folder) for folder in dict.fromkeys(folders)]
    return [Trained(run, prepare_again(run, survey, say_once, header_bytes)) for run in runs]


def _run_in(folder: Path) -> Run:
    run = Run(folder)
    if not folder.is_dir():
        raise RunError(f"There is no run folder {folder}: give one that `trainer fit` made, such as those under runs/.")
    if not run.model.is_file():
        raise RunError(
            f"{folder} holds no network: {run.model.name} is written after the first epoch of `trainer fit`. "
            "Give a run folder that has one."
        )
    return run
