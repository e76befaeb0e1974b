"""What a training is asked for, and all of it that can be read and refused before TensorFlow has started."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from infer.errors import OptionError
from infer.facies import FACIES_NAMES
from infer.section import Section
from infer.survey import Survey, open_survey
from trainer.names import (
    CONTEXT,
    PATCH_SIZES,
    PRETRAINED,
    check_model_name,
    check_network,
    check_patch_size,
    check_recipe,
    check_split,
)
from trainer.pick_sources import pick_files, sha256
from trainer.picks import PicksError, PlacedPicks, read_line_picks
from trainer.splits import SPLITS, Split

HeaderBytes = tuple[int | None, int | None]
"""Where a survey's trace headers hold the inline and the crossline; None: where it was said before, or 189 and 193."""


@dataclass(frozen=True)
class FitRequest:
    """What to train, on what, and what to say of it in the card."""

    network: str
    survey: Path
    picks: tuple[Path, ...]  # files or folders
    legend: Path | None = None  # of painted pictures, if it is not beside them
    epochs: int | None = None  # at most; the recipe's by default
    seed: int = 2018
    name: str = ""  # of the model; the network's by default
    survey_name: str = ""  # the file's name without its suffix by default
    licence: str = ""
    polarity: str = "as in the survey"
    split: str = "blocked"
    recipe: str = "default"
    patch_size: int = 0  # the network's by default
    weights: str = ""  # to start from: `imagenet`, `random` or a file; `imagenet` by default, where there are any
    inline_byte: int | None = None  # where the survey's trace headers hold line numbers; 189 and 193 by default
    crossline_byte: int | None = None

    def __post_init__(self) -> None:
        if not self.patch_size:
            object.__setattr__(self, "patch_size", PATCH_SIZES.get(self.network, 0))  # an unknown network is refused

    def to_json(self) -> dict[str, Any]:
        """As JSON has it, with absolute paths. They stay in the run folder and out of the model."""
        entries = asdict(self)
        entries["survey"] = str(self.survey.resolve())
        entries["picks"] = [str(path.resolve()) for path in self.picks]
        entries["legend"] = self.legend and str(self.legend.resolve())
        if self.from_file:
            entries["weights"] = str(Path(self.weights).resolve())
        return entries

    @classmethod
    def from_json(cls, entries: dict[str, Any]) -> FitRequest:
        """What `to_json` gave.

        Raises KeyError, TypeError: it is something else.
        """
        entries = {"inline_byte": None, "crossline_byte": None} | entries  # older runs do not say
        known = {f.name: entries[f.name] for f in fields(cls)}
        paths = {"survey": Path(known["survey"]), "picks": tuple(map(Path, known["picks"]))}
        return cls(**known | paths | {"legend": known["legend"] and Path(known["legend"])})

    def moved(self, survey: Path | None, header_bytes: HeaderBytes) -> FitRequest:
        """The same on a survey that is somewhere else now, or has its line numbers in other header bytes."""
        inline_byte, crossline_byte = header_bytes
        return replace(
            self,
            survey=survey or self.survey,
            inline_byte=self.inline_byte if inline_byte is None else inline_byte,
            crossline_byte=self.crossline_byte if crossline_byte is None else crossline_byte,
        )

    def open_survey(self) -> Survey:
        """The survey, by its own header bytes.

        Raises what `infer.survey.open_survey` raises.
        """
        return open_survey(self.survey, inline_byte=self.inline_byte, crossline_byte=self.crossline_byte)

    @property
    def initial_weights(self) -> str:
        """What training starts from."""
        return self.weights or ("imagenet" if self.network in PRETRAINED else "random")

    @property
    def from_file(self) -> bool:
        """Whether training starts from weights in a file."""
        return self.initial_weights not in ("imagenet", "random")


@dataclass(frozen=True, eq=False)
class Prepared:
    """A request with its picks placed on their section and split."""

    request: FitRequest
    section: Section
    amplitude_clip: float  # the survey's
    placed: PlacedPicks
    picks_sha256: str  # of the files
    split: Split


def prepare(
    request: FitRequest, say: Callable[[str], None] = lambda _: None, *, weights_needed: bool = True
) -> Prepared:
    """Read the picks and their line of the survey; `say` is told what became of the picks.

    weights_needed: whether a file of initial weights must be there still.

    Raises OptionError, OutputError, PicksError, SurveyError.
    """
    _check(request)
    if weights_needed and request.from_file and not Path(request.weights).is_file():
        raise OptionError(f"There are no weights at {request.weights}: give a Keras .h5 file, `imagenet` or `random`.")
    files = pick_files(request.picks)
    survey = request.open_survey()
    section, placed = read_line_picks(files, survey, request.legend)
    say(f"{placed.report()}.")
    for sentence in (*survey.warnings, *section.warnings, *placed.warnings):
        say(f"Warning: {sentence}")
    if np.unique(placed.facies).size < 2:
        raise PicksError(f"All picks are {FACIES_NAMES[placed.facies[0]]}: there is nothing to tell apart.")
    split = SPLITS[request.split](placed, request.seed, request.patch_size - CONTEXT[request.network])
    say(split.report(placed))
    checksum = sha256(files, request.legend)
    return Prepared(request, section, survey.amplitude_clip, placed, checksum, split)


def _check(request: FitRequest) -> None:
    """Raise OptionError or OutputError for what no file need be opened for."""
    check_network(request.network)
    check_recipe(request.network, request.recipe)
    check_split(request.split)
    check_patch_size(request.network, request.patch_size)
    check_model_name(request.name or request.network)
    if request.epochs is not None and request.epochs < 1:
        raise OptionError(f"Training takes at least one epoch, not {request.epochs}.")
    if request.network not in PRETRAINED and request.initial_weights != "random":
        raise OptionError(f"{request.network} is trained from scratch and starts from no weights.")
