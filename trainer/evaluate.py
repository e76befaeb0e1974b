"""Scores a network on every part of its split, and leaves numbers and pictures in its run folder."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import keras

from infer.files import writing
from trainer.dataset import LabelledSection, PatchBatches, some_of
from trainer.features import FEATURES, trained_part
from trainer.recipes import find_recipe
from trainer.runs import Run, write_text
from trainer.saved import load_network
from trainer.scores import Scores, score
from trainer.scores_picture import draw_calibration, draw_confusion
from trainer.splits import Split
from trainer.trained import Trained

__all__ = ["Scores", "evaluate", "score", "score_parts", "write_scores"]

CONFUSION_PICTURE, CALIBRATION_PICTURE = "confusion.png", "calibration.png"
"""Names in the run folder."""


def evaluate(trained: Trained, at_most: int | None = None) -> dict[str, Scores]:
    """Score the run's network on train, validation and test; write scores.json and two pictures into its folder.

    at_most: how many picks of each part to score, spread evenly over it, and nothing is written then: what the folder
    holds are the scores of as many as the recipe scores, which is the default.

    Where the recipe froze layers, features of the section are used, and computed again if they are gone.

    Raises RunError: the network cannot be read. OutputError: the folder takes no more.
    """
    request, prepared = trained.request, trained.prepared
    labelled = LabelledSection.of(prepared.section, prepared.amplitude_clip, prepared.placed)
    recipe = find_recipe(request.network, request.recipe)
    model, seen = trained_part(load_network(trained.run), labelled, recipe, trained.run.folder.parent / FEATURES)
    scores = score_parts(model, seen, prepared.split, at_most or recipe.scored)
    if at_most is None:
        _write(trained, scores)
    return scores


def _write(trained: Trained, scores: dict[str, Scores]) -> None:
    write_scores(trained.run, scores)
    for path, draw in zip(written(trained)[1:], (draw_confusion, draw_calibration), strict=True):
        with writing(path) as temporary:
            draw(scores, trained.title).savefig(temporary, dpi=100)


def write_scores(run: Run, scores: dict[str, Scores]) -> None:
    """Write scores.json into the run folder.

    Raises OutputError: the folder takes no more.
    """
    write_text(run.scores, json.dumps({part: asdict(s) for part, s in scores.items()}, indent=2))


def written(trained: Trained) -> tuple[Path, ...]:
    """The files that `evaluate` writes, unless it is told how many picks to score."""
    run = trained.run
    return run.scores, run.folder / CONFUSION_PICTURE, run.folder / CALIBRATION_PICTURE


def score_parts(
    model: keras.Model, labelled: LabelledSection, split: Split, at_most: int | None = None
) -> dict[str, Scores]:
    """The scores on each part of the split, with the network as it infers: no dropout, no batch statistics.

    at_most: how many picks of each part to score, spread evenly over it; all by default.
    """
    patch_size = model.input_shape[1]
    scores = {}
    for name, which in split.parts().items():
        batches = PatchBatches(labelled, some_of(which, at_most), patch_size)
        scores[name] = score(model.predict(batches, verbose=0), batches.facies)
    return scores
