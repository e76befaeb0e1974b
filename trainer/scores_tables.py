"""Scores in words and in tables, for the screen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from infer.facies import FACIES_NAMES
from trainer.scores import Scores
from trainer.trained import Trained

NONE = "-"

_CLOSE = 0.02
"""Where confidence and accuracy are within this of each other, neither is called the larger."""


def report(trained: Sequence[Trained], scores: Sequence[dict[str, Scores]]) -> str:
    """What the scores of these runs say: of one in detail, of several side by side."""
    if len(trained) > 1:
        return f"\n{side_by_side(trained, scores)}\n\n{_caveats(trained)}\n"
    parts = scores[0]
    tables = parts_table(parts), f"On the test picks:\n\n{facies_table(parts['test'])}"
    return "\n" + "\n\n".join([*tables, calibration_sentence(parts["test"]), _caveats(trained)]) + "\n"


def parts_table(scores: dict[str, Scores]) -> str:
    """The paper's scores of each part of the split, and its calibration error."""
    rows = [f"{'':<12}{'picks':>10}{'accuracy':>11}{'loss':>10}{'MAE':>10}{'ECE':>9}"]
    rows += [
        f"{part:<12}{s.patches:>10,}{s.accuracy:>11.2%}{s.loss:>10.4f}{s.mae:>10.4f}{s.ece:>9.1%}"
        for part, s in scores.items()
    ]
    return "\n".join(rows)


def facies_table(scores: Scores) -> str:
    """Which facies are found, and what they are taken for instead; of those that occur or were chosen."""
    confusion = np.array(scores.confusion)
    rows = [f"{'facies':<20}{'picks':>9}{'recall':>9}{'precision':>11}{'F1':>9}   most often taken for"]
    for code, name in enumerate(scores.facies):
        if name in scores.f1:
            rates = (_percent(rate.get(name)) for rate in (scores.recall, scores.precision, scores.f1))
            recall, precision, f1 = rates
            instead = _taken_for(confusion[code], code)
            rows.append(f"{name:<20}{confusion[code].sum():>9,}{recall:>9}{precision:>11}{f1:>9}   {instead}")
    return "\n".join(rows)


def calibration_sentence(scores: Scores) -> str:
    """What the probabilities on the test picks are worth."""
    surplus = scores.confidence - scores.accuracy
    verdict = "as it should be" if abs(surplus) < _CLOSE else "too sure of itself" if surplus > 0 else "too modest"
    return (
        f"On the test picks the chosen facies has a probability of {scores.confidence:.1%} on average and is right in "
        f"{scores.accuracy:.1%}: the network is {verdict} (expected calibration error {scores.ece:.1%})."
    )


def side_by_side(trained: Sequence[Trained], scores: Sequence[dict[str, Scores]]) -> str:
    """Several runs, one a column: how each was trained, its accuracy on every part, and what it finds in the test."""
    test = [parts["test"] for parts in scores]
    rows: list[tuple[str, list[str]]] = [
        ("", [t.name for t in trained]),
        ("network", [t.request.network for t in trained]),
        ("recipe", [t.request.recipe for t in trained]),
        ("split", [t.request.split for t in trained]),
    ]
    rows += [(f"{part} accuracy", [f"{s[part].accuracy:.2%}" for s in scores]) for part in scores[0]]
    rows += [
        ("test picks", [f"{s.patches:,}" for s in test]),
        ("test loss", [f"{s.loss:.4f}" for s in test]),
        ("test MAE", [f"{s.mae:.4f}" for s in test]),
        ("test ECE", [f"{s.ece:.1%}" for s in test]),
    ]
    found = [name for name in FACIES_NAMES if any(name in s.recall for s in test)]
    rows += [(f"recall of {name}", [_percent(s.recall.get(name)) for s in test]) for name in found]
    widths = [max(map(len, column)) + 2 for column in zip(*(cells for _, cells in rows), strict=True)]
    return "\n".join(
        f"{label:<30}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        for label, cells in rows
    )


def _caveats(trained: Sequence[Trained]) -> str:
    """What to know before believing the scores, each once, with the runs that it is said of where they differ."""
    of: dict[str, list[str]] = {}
    for t in trained:
        for sentence in t.caveats:
            of.setdefault(sentence, []).append(t.name)
    return "\n".join(
        sentence if len(names) == len(trained) else f"{', '.join(names)}: {sentence}" for sentence, names in of.items()
    )


def _taken_for(row: np.ndarray[tuple[int], np.dtype[np.int64]], code: int) -> str:
    """The facies that picks of this one are most often taken for, with the share of all its picks."""
    others = np.where(np.arange(row.size) == code, 0, row)
    most = int(others.argmax())
    return f"{FACIES_NAMES[most]} ({others[most] / row.sum():.1%})" if others[most] else NONE


def _percent(share: float | None) -> str:
    return NONE if share is None else f"{share:.1%}"
