"""The proof of an export: on the same real patches, what the .onnx file gives and what Keras gives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from infer.amplitude import scale_amplitude
from infer.card import ModelCard
from infer.patches import cut_patches
from infer.section import Section
from infer.sessions import session_options
from trainer.dataset import LabelledSection
from trainer.graph import ExportError
from trainer.precision import CALIBRATION_PATCHES
from trainer.request import Prepared

PROOF_GRID = (40, 30)
"""Traces and samples of the training line, evenly spread with its edges: 1,200 patches to prove an export on."""
TEST_PICKS = 2000
"""At most so many of the test picks, for the accuracy of a model in reduced precision."""
PROOF_MULTIPLY_ADDS = 2.6e12
"""By the network, at most, for the patches of the line and as much again for the test picks: a minute or two each. For
64 x 64 it is enough for all of them, and for 192 patches of vgg16-context."""

TOLERANCE = 1e-4
"""How far probabilities in fp32 may be from Keras'. Facies are the same everywhere then."""
ALLOWED_OTHER = 0.01
"""In reduced precision, the share of patches that may have another facies than in Keras."""

_BATCH_SAMPLES = 64 * 64**2
"""VGG16's first maps take 256 bytes for each sample of a patch."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """Real patches `[patch, P, P]` that an export is proved on. Only reduced precision takes more than the first."""

    line: NDArray[np.float32]  # spread over the training line
    test: NDArray[np.float32]  # around test picks
    facies: NDArray[np.int8]  # the test picks' own
    calibration: NDArray[np.float32]  # around training picks

    @classmethod
    def of_line(cls, section: Section, card: ModelCard, at_most: int) -> Evidence:
        """Of the line alone: so many patches."""
        line = proof_patches(section, card, at_most)
        return cls(line, line[:0], np.empty(0, np.int8), line[:0])

    @classmethod
    def of_picks(cls, prepared: Prepared, card: ModelCard, at_most: int) -> Evidence:
        """Of the line and its picks, so many of either and the same ones whenever the run is exported."""
        labelled = LabelledSection.of(prepared.section, prepared.amplitude_clip, prepared.placed)
        test = _some(prepared.split.test, min(TEST_PICKS, at_most), prepared.split.seed)
        train = _some(prepared.split.train, min(CALIBRATION_PATCHES, at_most), prepared.split.seed)
        return cls(
            proof_patches(prepared.section, card, at_most),
            labelled.patches(test, card.patch_size),
            prepared.placed.facies[test],
            labelled.patches(train, card.patch_size),
        )


@dataclass(frozen=True)
class Measured:
    """An exported model against Keras, on the same patches."""

    patches: int
    other: int  # patches with another facies than in Keras
    max_difference: float  # of probabilities
    accuracy: float  # of the exported model, 0 to 1; not a number where the true facies are not known
    keras_accuracy: float

    @property
    def agreement(self) -> float:
        """The share of patches with the same facies as in Keras, 0 to 1."""
        return 1 - self.other / self.patches


@dataclass(frozen=True)
class Proof:
    """What the proof of an export showed. On test picks only in reduced precision: fp32 has Keras' facies anyway."""

    line: Measured
    test: Measured | None

    def scores(self) -> dict[str, float]:
        """For a model card, beside the scores that training left there.

        `agreement` and `test_agreement`: with Keras, over the training line and on test picks. Both accuracies are on
        the same `exported_test_picks` picks.
        """
        scores = {"agreement": self.line.agreement, "agreement_patches": self.line.patches}
        if self.test:
            scores |= {
                "test_agreement": self.test.agreement,
                "exported_test_accuracy": self.test.accuracy,
                "keras_test_accuracy": self.test.keras_accuracy,
                "exported_test_picks": self.test.patches,
            }
        return {name: round(value, 6) for name, value in scores.items()}


def affordable_patches(model: keras.Model) -> int:
    """How many patches `PROOF_MULTIPLY_ADDS` are enough for, by the network's convolutions and dense layers."""
    one = sum(
        math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:-1])
        for layer in model.layers
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense))
    )
    return int(PROOF_MULTIPLY_ADDS / one)


def proof_patches(section: Section, card: ModelCard, at_most: int) -> NDArray[np.float32]:
    """Real patches `[patch, P, P]` spread over the live traces of a section, its edges and corners included."""
    live = np.flatnonzero(section.live)
    coarser = min(1.0, math.sqrt(at_most / math.prod(PROOF_GRID)))
    n_traces, n_samples = (max(2, int(size * coarser)) for size in PROOF_GRID)
    traces = np.unique(np.linspace(0, live.size - 1, n_traces).round().astype(int))
    samples = np.unique(np.linspace(0, section.shape[1] - 1, n_samples).round().astype(int))
    trace, sample = np.meshgrid(live[traces], samples, indexing="ij")
    scaled = scale_amplitude(section.amplitude, card.amplitude_clip or 1.0)
    return cut_patches(scaled, trace.ravel(), sample.ravel(), card.patch_size)


def prove(path: Path, model: keras.Model, evidence: Evidence, precision: str) -> Proof:
    """What the .onnx file at `path` gives, against what the Keras model gives.

    Raises ExportError: in fp32, probabilities further away than `TOLERANCE`, or another facies anywhere; in reduced
    precision, another facies on more patches than `ALLOWED_OTHER` allows, over the line or on test picks.
    """
    session = onnxruntime.InferenceSession(path.read_bytes(), session_options(), providers=["CPUExecutionProvider"])
    line = _measure(session, model, evidence.line)
    if precision == "fp32":
        _check_same(line)
        return Proof(line, None)
    test = _measure(session, model, evidence.test, evidence.facies)
    _check_agreement(line, test, precision)
    return Proof(line, test)


def _measure(
    session: onnxruntime.InferenceSession,
    model: keras.Model,
    patches: NDArray[np.float32],
    facies: NDArray[np.int8] | None = None,
) -> Measured:
    exported = _probabilities(session, patches)
    trained = np.asarray(model.predict(patches, batch_size=_batch_size(patches), verbose=0))
    ours, theirs = exported.argmax(axis=1), trained.argmax(axis=1)
    numbers = np.isfinite(exported).all(axis=1)
    return Measured(
        patches=len(patches),
        other=int(np.count_nonzero(~numbers | (ours != theirs))),
        max_difference=float(np.abs(exported - trained).max()),
        accuracy=float("nan") if facies is None else float((numbers & (ours == facies)).mean()),
        keras_accuracy=float("nan") if facies is None else float((theirs == facies).mean()),
    )


def _probabilities(session: onnxruntime.InferenceSession, patches: NDArray[np.float32]) -> NDArray[np.float32]:
    size = _batch_size(patches)
    starts = range(0, len(patches), size)
    batches = [session.run(["probabilities"], {"patches": patches[start : start + size]})[0] for start in starts]
    return np.concatenate(batches)


def _batch_size(patches: NDArray[np.float32]) -> int:
    return max(1, _BATCH_SAMPLES // math.prod(patches.shape[1:]))


def _check_same(line: Measured) -> None:
    if not line.max_difference <= TOLERANCE or line.other:
        raise ExportError(
            f"The exported model is not the one that was trained: on {line.patches:,} patches its probabilities are "
            f"up to {line.max_difference:.2g} away from Keras' ({TOLERANCE:g} is allowed), and {line.other:,} have "
            "another facies. No file was written."
        )


def _check_agreement(line: Measured, test: Measured, precision: str) -> None:
    if max(line.other / line.patches, test.other / test.patches) > ALLOWED_OTHER:
        finer = "fp16" if precision == "int8" else "fp32"
        raise ExportError(
            f"The model in {precision} is too far from the one that was trained: {line.other:,} of {line.patches:,} "
            f"patches over the line have another facies than in Keras, and {test.other:,} of {test.patches:,} test "
            f"picks; {ALLOWED_OTHER:.0%} is allowed. No file was written. `--precision {finer}` is closer."
        )


def _some(which: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """So many of the picks at positions `which`, or all if there are fewer."""
    return np.sort(np.random.default_rng(seed).choice(which, min(count, which.size), replace=False))
