"""What a training is asked for, and all of it that can be read and refused before TensorFlow has started."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from infer.errors import OptionError
from infer.section import Section
from infer.survey import open_survey
from trainer.names import check_model_name, check_network
from trainer.picks import PicksError, PlacedPicks, place_picks, read_picks
from trainer.runs import check_vacant
from trainer.splits import SPLITS, Split


@dataclass(frozen=True)
class FitRequest:
    """What to train, on what, and what to say of it in the card."""

    network: str
    survey: Path
    picks: Path
    epochs: int
    seed: int
    run: Path | None = None
    name: str = ""  # of the model; the network's by default
    survey_name: str = ""  # the file's name without its suffix by default
    licence: str = ""
    polarity: str = "as in the survey"


@dataclass(frozen=True, eq=False)
class Prepared:
    """A request with its picks placed on their section and split."""

    request: FitRequest
    section: Section
    amplitude_clip: float  # the survey's
    placed: PlacedPicks
    picks_sha256: str  # of the file
    split: Split


def prepare(request: FitRequest, say: Callable[[str], None] = lambda _: None) -> Prepared:
    """Read the picks and their line of the survey; `say` is told what became of the picks.

    Raises OptionError, OutputError, RunError, PicksError, SurveyError.
    """
    check_network(request.network)
    if request.epochs < 1:
        raise OptionError(f"Training takes at least one epoch, not {request.epochs}.")
    check_model_name(request.name or request.network)
    check_vacant(request.run)
    picks = read_picks(request.picks)
    kind, number = picks.line()
    survey = open_survey(request.survey)
    section = survey.read_line(kind, number)
    placed = place_picks(picks, section)
    say(f"{placed.report()}.")
    split = SPLITS["random"](placed, request.seed)
    return Prepared(request, section, survey.amplitude_clip, placed, _sha256(request.picks), split)


def _sha256(picks: Path) -> str:
    try:
        return hashlib.sha256(picks.read_bytes()).hexdigest()
    except OSError as error:
        raise PicksError(f"{picks} cannot be read: {error.strerror}.") from error
