"""What does it take to mislead a network? Accuracy on a run's test picks under noise, gain, polarity, and attacks.

- Noise: to the whole section before it is scaled and clipped, so that patches overlap as they do in a survey. Normal,
  with the section's own mean amplitude spectrum in time, and another on every trace. The signal-to-noise ratio is that
  of root mean squares over the live traces.
- Gain: the section times a factor, the clip unchanged. Polarity: the section times -1.
- FGSM: every sample of a patch moves by 1 % of the clip the way that raises the loss (Goodfellow et al. 2015,
  "Explaining and harnessing adversarial examples"). Beside it, the same 1 % up or down at random: the attack without
  its aim.
- One sample: a search by differential evolution for a sample of a patch, and a value within the clip, that change the
  facies (Su, Vargas & Sakurai 2019, "One pixel attack for fooling deep neural networks"), with so many candidates a
  patch, on patches that are classified right. The accuracy given is what is left of it if all fall as these do.

    python benchmarks/robustness.py RUN... [--survey CUBE] [--patches 2000] [--attacked 100] [--candidates 200]
                                           [--out robustness.png]
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from machine import describe_machine
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from infer.errors import InferError
from trainer.dataset import LabelledSection, PatchBatches, some_of
from trainer.saved import load_network
from trainer.trained import Trained, find_trained

SNR_DB = (20, 15, 10, 5, 0)
GAINS = (0.5, 0.7, 1.0, 1.4, 2.0)
EPSILON = 0.01
POPULATION = 40
"""Candidates a patch in one generation of the one-sample search; Su et al. have 400, for a hundred generations."""
MUTATION = 0.5
SEED = 2018
BATCH = 256
SLOPE_BATCH = 64
"""Gradients keep what every layer gave: of VGG16, some 10 MB a patch."""

AS_IT_IS, FLIPPED = "as it is", "polarity flipped"
RANDOM_SIGNS, FGSM, ONE_SAMPLE = "1 % of the clip, at random", "1 % of the clip, FGSM", "one sample"

COLOURS = ("#4477aa", "#ee8866", "#44aa99", "#882255", "#aaaa00", "#99ddff")


def main() -> None:
    asked = arguments()
    trained = find_trained(asked.runs, asked.survey)
    print(describe_machine())
    print(
        f"Test picks a run, at most: {asked.patches:,}. One sample: {asked.candidates} candidates a patch.", flush=True
    )
    columns = [measure(t, asked.patches, asked.attacked, asked.candidates) for t in trained]
    print(table(trained, columns))
    draw([t.name for t in trained], columns).savefig(asked.out, dpi=100)
    print(f"Wrote {asked.out}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--survey", type=Path, metavar="CUBE", help="the training survey, if it has moved since")
    parser.add_argument("--patches", type=int, default=2_000, metavar="N", help="test picks, evenly spread")
    parser.add_argument("--attacked", type=int, default=100, metavar="N", help="patches in which one sample changes")
    parser.add_argument("--candidates", type=int, default=200, metavar="N", help="tried on each of these")
    parser.add_argument("--out", type=Path, default=Path("robustness.png"), metavar="FILE")
    return parser.parse_args()


def measure(trained: Trained, at_most: int, attacked: int, candidates: int) -> dict[str, float]:
    """The accuracy, 0 to 1, under every disturbance."""
    model, section = load_network(trained.run), trained.prepared.section
    which = some_of(trained.prepared.split.test, at_most)
    accuracies = {}
    for name, amplitude in disturbed(section.amplitude, section.live):
        accuracies[name] = accuracy(model, trained, amplitude, which)
        print(f"{trained.name}: {name} {accuracies[name]:.1%}", flush=True)
    labelled = labelled_as(trained, section.amplitude)
    patches, facies = labelled.patches(which, trained.request.patch_size), labelled.picks.facies[which]
    rng = np.random.default_rng(SEED)
    for name, changed in (
        (RANDOM_SIGNS, stepped(patches, rng.choice((-1.0, 1.0), patches.shape), EPSILON)),
        (FGSM, fgsm(model, patches, facies, EPSILON)),
    ):
        accuracies[name] = float((model.predict(changed, BATCH, verbose=0).argmax(axis=1) == facies).mean())
        print(f"{trained.name}: {name} {accuracies[name]:.1%}", flush=True)
    right = np.flatnonzero(model.predict(patches, BATCH, verbose=0).argmax(axis=1) == facies)
    chosen = some_of(right, attacked)
    found = one_sample_attack(model, patches[chosen], facies[chosen], candidates, rng)
    accuracies[ONE_SAMPLE] = accuracies[AS_IT_IS] * float(1 - found.mean() if found.size else 1)
    print(f"{trained.name}: {ONE_SAMPLE} changes the facies of {found.sum()} of {found.size} right patches", flush=True)
    return accuracies


def disturbed(amplitude: np.ndarray, live: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """The section as it is, and under every disturbance of the whole of it; `[trace, sample]`."""
    yield AS_IT_IS, amplitude
    for snr_db in SNR_DB:
        yield noise_name(snr_db), amplitude + noise(amplitude, live, snr_db, np.random.default_rng(SEED))
    for gain in GAINS:
        if gain != 1:
            yield gain_name(gain), amplitude * np.float32(gain)
    yield FLIPPED, -amplitude


def noise_name(snr_db: float) -> str:
    return f"noise, {snr_db} dB"


def gain_name(gain: float) -> str:
    return AS_IT_IS if gain == 1 else f"gain {gain:g}"


def noise(amplitude: np.ndarray, live: np.ndarray, snr_db: float, rng: np.random.Generator) -> np.ndarray:
    """Normal noise `[trace, sample]` with the mean amplitude spectrum of the live traces, and none on the others."""
    spectrum = np.abs(np.fft.rfft(amplitude[live], axis=1)).mean(axis=0)
    white = rng.standard_normal(amplitude[live].shape)
    coloured = np.fft.irfft(np.fft.rfft(white, axis=1) * spectrum, amplitude.shape[1], axis=1)
    coloured *= rms(amplitude[live]) / rms(coloured) / 10 ** (snr_db / 20)
    everywhere = np.zeros_like(amplitude)
    everywhere[live] = coloured
    return everywhere


def rms(amplitude: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(amplitude, dtype=np.float64))))


def labelled_as(trained: Trained, amplitude: np.ndarray) -> LabelledSection:
    """The run's picks on a section with these amplitudes, scaled as the run's was."""
    prepared = trained.prepared
    section = dataclasses.replace(prepared.section, amplitude=amplitude)
    return LabelledSection.of(section, prepared.amplitude_clip, prepared.placed)


def accuracy(model: keras.Model, trained: Trained, amplitude: np.ndarray, which: np.ndarray) -> float:
    batches = PatchBatches(labelled_as(trained, amplitude), which, trained.request.patch_size)
    return float((model.predict(batches, verbose=0).argmax(axis=1) == batches.facies).mean())


def fgsm(model: keras.Model, patches: np.ndarray, facies: np.ndarray, epsilon: float) -> np.ndarray:
    """The patches `[patch, P, P]`, every sample moved by `epsilon` the way that raises the loss, within ±1."""
    slopes = [_slope(model, part, true) for part, true in zip(_parts(patches), _parts(facies), strict=True)]
    return stepped(patches, np.sign(np.concatenate(slopes)), epsilon)


def stepped(patches: np.ndarray, signs: np.ndarray, epsilon: float) -> np.ndarray:
    """The patches with every sample moved by `epsilon` in its own direction, within ±1."""
    return np.clip(patches + np.float32(epsilon) * signs.astype(np.float32), -1, 1)


def _slope(model: keras.Model, patches: np.ndarray, facies: np.ndarray) -> np.ndarray:
    """The cross-entropy's gradient by the samples, `[patch, P, P]`."""
    asked = tf.constant(patches)
    with tf.GradientTape() as tape:
        tape.watch(asked)
        loss = keras.losses.sparse_categorical_crossentropy(facies, model(asked, training=False))
    return tape.gradient(loss, asked).numpy()


def _parts(of: np.ndarray) -> list[np.ndarray]:
    return [of[first : first + SLOPE_BATCH] for first in range(0, len(of), SLOPE_BATCH)]


def one_sample_attack(
    model: keras.Model, patches: np.ndarray, facies: np.ndarray, candidates: int, rng: np.random.Generator
) -> np.ndarray:
    """Of which patches `[patch]` one sample was found whose change changes the facies.

    Differential evolution of (trace, sample, amplitude) as in Su et al.: a child is one candidate plus half the
    difference of two others, and takes the place of another if it leaves the true facies less probable.
    """
    found = np.zeros(len(patches), bool)
    population = POPULATION if candidates >= POPULATION else max(candidates, 1)
    places = random_candidates(patches, population, rng)
    scores = np.ones(places.shape[:2], np.float32)
    for generation in range(candidates // population):
        going = np.flatnonzero(~found)
        if not going.size:
            break
        tried = places[going] if not generation else children(places[going], patches.shape[1], rng)
        changed = with_one_sample(np.repeat(patches[going], population, 0), tried.reshape(-1, 3))
        p = model.predict(changed, BATCH, verbose=0).reshape(going.size, population, -1)
        of_truth = np.take_along_axis(p, facies[going, None, None].astype(int), axis=2)[:, :, 0]
        found[going] = (p.argmax(axis=2) != facies[going, None]).any(axis=1)
        better = of_truth < scores[going]
        places[going] = np.where(better[:, :, None], tried, places[going])
        scores[going] = np.where(better, of_truth, scores[going])
    return found


def random_candidates(patches: np.ndarray, population: int, rng: np.random.Generator) -> np.ndarray:
    """(trace, sample, amplitude) anywhere in a patch, `[patch, candidate, 3]`."""
    size = patches.shape[1]
    return rng.uniform((0, 0, -1), (size, size, 1), (len(patches), population, 3))


def children(parents: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """As many children as there are parents `[patch, candidate, 3]`, within the patch and the clip."""
    order = rng.permuted(np.broadcast_to(np.arange(parents.shape[1]), parents.shape[:2]), axis=1)
    first, second, third = (
        np.take_along_axis(parents, np.roll(order, k, axis=1)[:, :, None], axis=1) for k in range(3)
    )
    return np.clip(first + MUTATION * (second - third), (0, 0, -1), (size - 1e-6, size - 1e-6, 1))


def with_one_sample(patches: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """The patches `[patch, P, P]`, each with its candidate (trace, sample, amplitude) `[patch, 3]` put in."""
    changed = patches.copy()
    trace, sample = candidates[:, :2].astype(int).T
    changed[np.arange(len(patches)), trace, sample] = candidates[:, 2]
    return changed


def table(trained: list[Trained], columns: list[dict[str, float]]) -> str:
    """The accuracies, a run a column."""
    widths = [max(len(t.name), 9) + 2 for t in trained]
    rows = [[t.name for t in trained], [t.request.network for t in trained], [t.request.split for t in trained]]
    rows += [[f"{column[name]:.1%}" for column in columns] for name in columns[0]]
    return "\n".join(
        f"{label:<28}" + "".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
        for label, row in zip(("", "network", "split", *columns[0]), rows, strict=True)
    )


def draw(names: list[str], columns: list[dict[str, float]]) -> Figure:
    """Accuracy against the signal-to-noise ratio, against gain, and in bars for the rest; a run a colour."""
    figure = Figure(figsize=(14, 4.8), layout="constrained")
    noisy, gained, others = figure.subplots(1, 3, sharey=True, width_ratios=(1, 1, 1.6))
    for colour, name, column in zip(COLOURS * len(names), names, columns, strict=False):
        percent = {key: 100 * value for key, value in column.items()}
        noisy.plot(SNR_DB, [percent[noise_name(snr)] for snr in SNR_DB], "o-", color=colour, label=name)
        noisy.axhline(percent[AS_IT_IS], color=colour, linestyle=":", linewidth=1)
        gained.plot(GAINS, [percent[gain_name(gain)] for gain in GAINS], "o-", color=colour)
    noisy.set(ylabel="test picks right, %", xlabel="signal-to-noise ratio, dB (dotted: as it is)", ylim=(0, 101))
    noisy.invert_xaxis()
    gained.set(xlabel="gain", xscale="log", xticks=GAINS, xticklabels=[f"{gain:g}" for gain in GAINS])
    gained.minorticks_off()
    _draw_bars(others, columns)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    for axes in (noisy, gained, others):
        axes.set_axisbelow(True)
        axes.grid(alpha=0.3, axis="y")
    return figure


def _draw_bars(axes: Axes, columns: list[dict[str, float]]) -> None:
    bars = {
        AS_IT_IS: "as it is",
        FLIPPED: "polarity\nflipped",
        RANDOM_SIGNS: "1 % of clip\nat random",
        FGSM: "1 % of clip\nFGSM",
        ONE_SAMPLE: "one\nsample",
    }
    width = 0.8 / len(columns)
    for number, (colour, column) in enumerate(zip(COLOURS * len(columns), columns, strict=False)):
        place = np.arange(len(bars)) + (number - (len(columns) - 1) / 2) * width
        heights = [100 * column[name] for name in bars]
        axes.bar_label(axes.bar(place, heights, width * 0.92, color=colour), fmt="%.0f", fontsize=9)
    axes.set_xticks(range(len(bars)), bars.values())


if __name__ == "__main__":
    try:
        main()
    except InferError as error:
        sys.exit(str(error))
