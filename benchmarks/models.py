"""How fast does every network classify a line, by either engine?

Slices take the whole line. Patches take as many of its traces, from the middle, as keep them busy for some seconds: a
whole line takes VGG16's patches a quarter of an hour. Each contender runs in a process of its own, in turn, several
times over; the medians are printed. What a process does first takes longer, on a GPU above all: of slices that time is
printed too, and it is not in the rates. Not on the CPU, a few traces are compared with what the CPU gives.

    python benchmarks/models.py SURVEY.sgy CROSSLINE MODEL... [--device cuda]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

import numpy as np
from machine import describe_machine

from infer.errors import InferError, ModelError, ModelNotFoundError
from infer.sessions import choose_device

ROUNDS = 3
SECONDS = 8.0
COMPARED = {"slice": 40, "patch": 6}  # traces


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("survey")
    parser.add_argument("crossline")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    asked = parser.parse_args()
    survey, crossline, models = asked.survey, asked.crossline, asked.models
    try:
        device, _ = choose_device(asked.device)
    except InferError as error:
        sys.exit(str(error))
    print(f"{describe_machine()}; on {device}")
    contenders = [(model, engine) for model in models for engine in ("patch", "slice")]
    runs: dict[tuple[str, str], list[dict]] = {contender: [] for contender in contenders}
    for _ in range(ROUNDS):
        for model, engine in contenders:
            command = [sys.executable, __file__, "--contender", survey, crossline, model, engine, asked.device]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            if result := json.loads(done.stdout.splitlines()[-1]):
                runs[model, engine].append(result)
    patches = {model: rate(runs[model, "patch"]) for model in models}
    slowest = min((model for model in models if patches[model]), key=lambda model: patches[model])
    columns = f"{'samples/s':>12}{'the line takes':>16}{'at first':>11}{'memory':>10}"
    print(f"{'model':<16}{'engine':<8}{'precision':<11}{columns}  against")
    for (model, engine), results in runs.items():
        if not results:
            print(f"{model:<16}{engine:<8}has none")
            continue
        line = results[0]["line"] / rate(results)
        ratios = [one["rate"] / other["rate"] for one, other in zip(results, runs[slowest, "patch"], strict=False)]
        first = f"{statistics.median(one['first_s'] for one in results):,.1f} s" if engine == "slice" else ""
        print(
            f"{model:<16}{engine:<8}{results[0]['precision']:<11}{rate(results):>12,.0f}{line:>14,.2f} s{first:>11}"
            f"{statistics.median(one['peak_mb'] for one in results):>7,.0f} MB  "
            f"{statistics.median(ratios):.1f} times {slowest} by patches"
        )
    for (model, engine), results in runs.items():
        if results and results[0]["differs"]:
            print(f"{model} by {engine}: {results[0]['differs']}")


def rate(results: list[dict]) -> float:
    return statistics.median(one["rate"] for one in results) if results else 0.0


def contender(survey_file: str, crossline: str, name: str, engine: str, device: str) -> dict | None:
    """What it does; None if the model has none of that engine."""
    import resource

    from infer import load_model, open_survey
    from infer.classification import probabilities_at

    try:
        model = load_model(name, device, engine)
    except (ModelError, ModelNotFoundError):
        return None
    survey = open_survey(survey_file)
    section = survey.read_crossline(int(crossline))
    live, samples = np.flatnonzero(section.live), np.arange(section.shape[1])

    def seconds(traces: np.ndarray) -> float:
        started = time.perf_counter()
        probabilities_at(section, traces, samples, model, survey.amplitude_clip, engine)
        return time.perf_counter() - started

    traces = live
    first = seconds(live if engine == "slice" else live[live.size // 2 :][:1])
    if engine == "patch":
        one = seconds(live[live.size // 2 :][:1])
        count = int(np.clip(SECONDS / max(one, 1e-3), 1, live.size))
        traces = live[(live.size - count) // 2 :][:count]
    taken = seconds(traces)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    differs = ""
    if model.device.kind != "cpu":
        few = live[live.size // 2 :][: COMPARED[engine]]
        there, here = (
            probabilities_at(section, few, samples, one, survey.amplitude_clip, engine)
            for one in (model, load_model(name, "cpu", engine))
        )
        others = np.count_nonzero(there.argmax(axis=0) != here.argmax(axis=0))
        differs = (
            f"probabilities within {np.abs(there - here).max():.1e} of the CPU's, "
            f"another facies at {others:,} of {few.size * samples.size:,} samples"
        )
    return {
        "differs": differs,
        "rate": traces.size * samples.size / taken,
        "line": live.size * samples.size,
        "first_s": first,
        "precision": model.card.precision,
        "peak_mb": peak_mb,
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["--contender"]:
        print(json.dumps(contender(*sys.argv[2:])))
    else:
        main()
