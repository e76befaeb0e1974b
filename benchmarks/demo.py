"""How right is a classified line of the demo survey? Accuracy against its true facies, with and without boundaries.

python benchmarks/demo.py demo/demo.facies.sgy demo/crossline_500.npz
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from infer import open_survey

MARGIN = 8
"""How many traces and samples from the nearest other facies a sample is "away from boundaries"."""


def main(true_facies: str, classified: str) -> None:
    result = np.load(classified)
    kind = "crossline" if np.ptp(result["crossline"]) == 0 else "inline"
    number = int(result[kind][0])
    line = open_survey(true_facies).read_line(kind, number)
    truth, facies = line.amplitude.astype(np.int8), result["facies"]
    known = (truth >= 0) & (facies >= 0)
    inner = known & away_from_boundaries(truth, MARGIN)
    right = facies == truth

    print(f"{Path(classified).name}: {kind} {number} of {Path(true_facies).name}, {known.sum():,} samples")
    print(f"accuracy, all samples                          {right[known].mean():7.2%}")
    print(f"accuracy, {MARGIN} or more from a boundary              {right[inner].mean():7.2%}")
    print(f"\n{'facies':<22}{'samples':>9}{'recall':>9}{'away from boundaries':>22}")
    for code, name in enumerate(result["facies_names"]):
        of_it = known & (truth == code)
        inner_of_it = inner & (truth == code)
        print(f"{name:<22}{of_it.sum():>9,}{mean(right[of_it]):>9}{mean(right[inner_of_it]):>22}")


def mean(right: np.ndarray) -> str:
    return f"{right.mean():.1%}" if right.size else "none"


def away_from_boundaries(truth: np.ndarray, margin: int) -> np.ndarray:
    """Where the square of `margin` samples around holds one facies only, `[trace, sample]`."""
    lowest = highest = np.pad(truth, margin, mode="edge")
    for axis in (0, 1):
        windows = np.lib.stride_tricks.sliding_window_view
        lowest = windows(lowest, 2 * margin + 1, axis).min(axis=-1)
        highest = windows(highest, 2 * margin + 1, axis).max(axis=-1)
    return lowest == highest


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
