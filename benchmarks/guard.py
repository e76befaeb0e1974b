"""Does `vgg16-context` score well because its training patches show the amplitudes of test blocks?

A patch of it reaches 122 traces to either side, and the blocked split leaves 32 between test and training picks. Here
every eighth block of 48 traces is tested, starting with the second: few enough to train with guards of 122 traces
around them, so that no training patch shows a trace with a test pick. VGG16, whose patches reach 32, is trained and
tested on the same picks; both also with the usual guard around the same test blocks.

    python benchmarks/guard.py SURVEY.sgy PICKS.ixz --runs DIR [--weights WEIGHTS] [--seeds 1]

DIR keeps the runs, and what frozen layers make of the section. WEIGHTS: `imagenet` (the default, which Keras
downloads), or a Keras file without the top.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
from dataclasses import replace
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from machine import describe_machine

from infer.facies import FACIES_NAMES
from trainer.fit import fit
from trainer.request import FitRequest, prepare
from trainer.runs import Run
from trainer.splits import split_apart

TESTED = slice(1, None, 8)
GUARDS = (122, 32)
NETWORKS = ("vgg16", "vgg16-context")
SEED = 2018


def main() -> None:
    asked = arguments()
    print(describe_machine())
    columns = f"{'network':<15}{'guard':>6}{'seed':>6}{'trained on':>12}{'tested on':>11}{'test':>8}"
    print(f"{columns}  finds less of")
    for guard, network, seed in itertools.product(GUARDS, NETWORKS, range(SEED, SEED + asked.seeds)):
        request = FitRequest(network, asked.survey, (asked.picks,), seed=seed, weights=asked.weights)
        prepared = prepare(request)
        prepared = replace(prepared, split=split_apart(prepared.placed, seed, guard, TESTED))
        run = Run(asked.runs / f"{network}-guard-{guard}-seed-{seed}")
        if not (run.folder / "card.json").exists():
            run.folder.mkdir(parents=True, exist_ok=True)
            fit(prepared, run)
        scores = json.loads((run.folder / "scores.json").read_text(encoding="utf-8"))["test"]
        sizes = f"{prepared.split.train.size:>12,}{prepared.split.test.size:>11,}"
        missed = ", ".join(f"{name} ({share:.0%})" for name, share in scores["recall"].items() if share < 0.9)
        print(f"{network:<15}{guard:>6}{seed:>6}{sizes}{scores['accuracy']:>8.1%}  {missed}", flush=True)
    untested = np.setdiff1d(np.arange(len(FACIES_NAMES)), prepared.placed.facies[prepared.split.test])
    print(f"not among the test picks: {', '.join(FACIES_NAMES[code] for code in untested) or 'none'}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("survey", type=Path)
    parser.add_argument("picks", type=Path)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--seeds", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
