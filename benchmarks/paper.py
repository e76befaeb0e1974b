"""The paper's table beside ours: three networks, trained and tested on the picks of F3's inline 339.

Every network is trained by `trainer fit` on both splits, unless its run is in the folder already; an unfinished run
goes on where it was. The paper's scores are of the random split, and there Waldeland is trained by the paper's recipe
too; for VGG16 and ResNet50 that takes hours without a GPU.

    python benchmarks/paper.py SURVEY.sgy PICKS.ixz --runs DIR [--vgg16 WEIGHTS] [--resnet50 WEIGHTS] [--only waldeland]
        [--splits blocked]

WEIGHTS: `imagenet` (the default, which Keras downloads), `random`, or a Keras file without the top.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path

from machine import describe_machine

PAPER = {  # loss and accuracy in training and in testing; Dramsch & Lüthje 2018
    "waldeland": (0.001, 1.000, 0.003, 0.999),
    "vgg16": (0.010, 0.998, 0.127, 1.000),
    "resnet50": (0.011, 1.000, 14.166, 0.121),
}
NETWORKS = (*PAPER, "vgg16-context")
SPLITS = ("random", "blocked")
BY_PAPERS_RECIPE = [("waldeland", "random")]
CARD = ("--survey-name", "Dutch F3", "--licence", "CC BY-SA 3.0, TNO / dGB Earth Sciences")


def main() -> None:
    asked = arguments()
    for network in asked.only:
        for split in asked.splits:
            fit(network, split, asked)
    print(describe_machine())
    print(f"{'':<24}{'train':>18}{'test':>18}{'patches':>12}{'training':>11}")
    columns = "".join(f"{'loss':>8}{'accuracy':>10}" for _ in ("train", "test"))
    print(f"{'network':<15}{'split':<9}{columns}{'seen':>12}{'took':>11}  recipe, starts from")
    for network in asked.only:
        if network in PAPER:
            loss, accuracy, test_loss, test_accuracy = PAPER[network]
            print(f"{network:<14} {'paper':<9}{loss:>8.3f}{accuracy:>10.1%}{test_loss:>8.3f}{test_accuracy:>10.1%}")
        for split in asked.splits:
            print(row(network, split, asked.runs / f"{network}-{split}"))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("survey")
    parser.add_argument("picks")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--vgg16", default="imagenet")
    parser.add_argument("--resnet50", default="imagenet")
    parser.add_argument("--only", choices=NETWORKS, nargs="+", default=list(PAPER))
    parser.add_argument("--splits", choices=SPLITS, nargs="+", default=list(SPLITS))
    return parser.parse_args()


def fit(network: str, split: str, asked: argparse.Namespace) -> None:
    run = asked.runs / f"{network}-{split}"
    if (run / "card.json").exists():
        return
    command = [sys.executable, "-c", "from trainer.cli import main; main()", "fit", network, "--run", str(run)]
    if any(run.glob("epoch-*.keras")):
        command += ["--resume"]
    else:
        weights = () if network == "waldeland" else ("--weights", getattr(asked, network.partition("-")[0]))
        recipe = ("--recipe", "paper") if (network, split) in BY_PAPERS_RECIPE else ()
        command += ["--survey", asked.survey, "--picks", asked.picks, "--split", split, *CARD, *weights, *recipe]
    subprocess.run(command, check=True)


def row(network: str, split: str, run: Path) -> str:
    card = json.loads((run / "card.json").read_text(encoding="utf-8"))
    with (run / "history.csv").open(newline="") as file:
        epochs = list(csv.DictReader(file))
    scores, training = card["scores"], card["training"]
    minutes = sum(float(epoch["seconds"]) for epoch in epochs) / 60
    numbers = "".join(
        f"{scores[f'{part}_loss']:>8.3f}{scores[f'{part}_accuracy']:>10.2%}" for part in ("train", "test")
    )
    how = f"{training['recipe']}, {training['initial_weights'].split(',')[0]}"
    return f"{network:<14} {split:<9}{numbers}{training['patches']:>12,}{minutes:>7.1f} min  {how}"


if __name__ == "__main__":
    main()
