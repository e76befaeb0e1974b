"""One line as every network sees it: the bare section, and the facies by each model over it, in one small picture.

python benchmarks/side_by_side.py SURVEY.sgy CROSSLINE PICTURE.jpg [--models A B C] [--stride 1 1 4]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from machine import describe_machine
from matplotlib.figure import Figure

from infer import classify, load_model, open_survey
from infer.picture import draw_facies, draw_section, set_legend


def main() -> None:
    asked = arguments()
    survey = open_survey(asked.survey)
    section, clip = survey.read_crossline(asked.crossline), survey.amplitude_clip
    figure = Figure(figsize=(14, 8), layout="constrained")
    bare, *others = figure.subplots(2, 2, sharex=True, sharey=True).ravel()
    bare.set_title(f"crossline {asked.crossline}")
    draw_section(bare, section, clip)
    print(describe_machine())
    for axes, name, stride in zip(others, asked.models, asked.stride, strict=True):
        model = load_model(name)
        started = time.perf_counter()
        result = classify(section, model, clip, stride=stride)
        took = time.perf_counter() - started
        print(f"{model.card.name}, stride {stride}: {took:.0f} s on {model.device}", flush=True)
        axes.set_title(model.card.name if stride == 1 else f"{model.card.name}, every {stride}th trace and sample")
        draw_section(axes, section, clip)
        draw_facies(axes, section, result.facies, result.facies_colours)
    set_legend(figure, list(result.facies_names), result.facies_colours)
    figure.savefig(asked.picture, dpi=75)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("survey", type=Path)
    parser.add_argument("crossline", type=int)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--models", nargs=3, default=["waldeland", "vgg16-context", "resnet50"])
    parser.add_argument("--stride", nargs=3, type=int, default=[1, 1, 1])
    return parser.parse_args()


if __name__ == "__main__":
    main()
