"""Writes a slice model beside its patch model, after proving on a section that both give the same."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from infer.amplitude import scale_amplitude
from infer.card import ModelCard, read_card, write_card
from infer.demo import DEMO_INLINE, write_demo
from infer.errors import LineNotFoundError
from infer.files import writing
from infer.models import slice_path
from infer.patch_engine import classify_samples
from infer.section import Section
from infer.sessions import SLICE_SUFFIX, Model, session_options
from infer.survey import open_survey
from trainer.slicegraph import SliceError, SliceGraph, check_worth, slice_graph

TOLERANCE = 1e-5
"""How far the probabilities of a slice model may be from those of its patch model."""
TOLERANCE_REDUCED = 1e-2
"""The same in fp16 and int8, where a value between two steps may be rounded the other way, and what follows from it."""
PROOF_MULTIPLY_ADDS = 1e11
"""By the patch model, in all: a few seconds. A proof is on as many samples as that allows, 100 at least."""


@dataclass(frozen=True)
class SliceExport:
    """A slice model, what it saves, and what its proof showed."""

    path: Path
    graph: SliceGraph
    samples: int
    max_difference: float  # of probabilities
    other: int  # samples with another facies, where two are as probable as each other

    def report(self) -> str:
        """Where the slice model is, what it saves, and how it compares with the patch model."""
        size = self.path.stat().st_size / 1e6
        same = f"{self.other:,} facies others, where two are as likely" if self.other else "all facies the same"
        return (
            f"Wrote {self.path} ({size:.1f} MB). {self.graph.report()}\n"
            f"On {self.samples:,} samples its probabilities are within {self.max_difference:.1e} of the patch model's, "
            f"{same}."
        )


def export_slice(model: Path, section: Section | None = None) -> SliceExport:
    """Write `<name>.slice.onnx` beside the patch model at `model`, with its card.

    section: a section to prove it on, a part of it; of the demo survey by default.

    Raises ModelNotFoundError, ModelError: no patch model with a card. LineNotFoundError: the section has no live trace.
    OutputError: it cannot be written there. In these cases an older slice model stays as it is. SliceError: it cannot
    be compiled, it would not pay, or it is not its patch model. An older one goes then.
    """
    card, path = read_card(model), slice_path(model)
    if model.name.endswith(SLICE_SUFFIX):
        raise SliceError(f"{model.name} is a slice model already.")
    if section is not None and not section.live.any():
        raise LineNotFoundError(
            f"{section.kind.capitalize()} {section.number} has no live trace to prove a slice model on."
        )
    try:
        graph = slice_graph(onnx.load(model), card)
        check_worth(graph, card.name)
        onnx.checker.check_model(graph.model, full_check=True)
        part = _part(demo_section() if section is None else section, graph.patch_multiply_adds)
        with writing(path) as temporary:
            onnx.save(graph.model, temporary)
            samples, difference, other = _compare(temporary, model, card, part)
            write_card(temporary, card)
    except SliceError:
        path.unlink(missing_ok=True)
        raise
    return SliceExport(path, graph, samples, difference, other)


def demo_section() -> Section:
    """A line of the demo survey."""
    with tempfile.TemporaryDirectory() as folder:
        demo = write_demo(Path(folder), inlines=range(DEMO_INLINE, DEMO_INLINE + 2))
        return open_survey(demo.survey).read_inline(DEMO_INLINE)


def _part(section: Section, patch_multiply_adds: int) -> Section:
    """The middle of the live part of a section, as a section of its own, so that edges are in it and corners."""
    live = np.flatnonzero(section.live)
    samples = max(100, int(PROOF_MULTIPLY_ADDS / patch_multiply_adds))
    n_samples = min(section.shape[1], max(int(np.sqrt(samples)), samples // live.size))
    n_traces = min(live.size, samples // n_samples)
    traces = live[(live.size - n_traces) // 2 :][:n_traces]
    first = (section.shape[1] - n_samples) // 2
    return replace(
        section,
        amplitude=np.ascontiguousarray(section.amplitude[traces, first : first + n_samples]),
        inline=section.inline[traces],
        crossline=section.crossline[traces],
        twt_ms=section.twt_ms[first : first + n_samples],
        live=section.live[traces],
    )


def _compare(slice_model: Path, patch_model: Path, card: ModelCard, section: Section) -> tuple[int, float, int]:
    """On every sample of the section: how many there are, how far probabilities differ, how many facies do.

    Raises SliceError: further than `TOLERANCE`.
    """
    clip = np.float32(card.amplitude_clip or np.abs(section.amplitude).max() or 1.0)
    scaled = scale_amplitude(section.amplitude, float(clip))
    traces, samples = (np.arange(size) for size in section.shape)
    expected = classify_samples(scaled, traces, samples, Model(patch_model, "cpu"))
    options = session_options()
    options.log_severity_level = 3  # it warns of inputs that need not be given
    session = onnxruntime.InferenceSession(slice_model.read_bytes(), options, providers=["CPUExecutionProvider"])
    inputs = {"section": section.amplitude, "amplitude_clip": np.array(clip)}
    facies, probabilities = session.run(["facies", "probabilities"], inputs)
    difference = float(np.abs(probabilities - expected).max())
    allowed = TOLERANCE if card.precision == "fp32" else TOLERANCE_REDUCED
    if not difference <= allowed:
        raise SliceError(
            f"The slice model of {card.name} is not its patch model: on {facies.size:,} samples its probabilities are "
            f"up to {difference:.2g} away ({allowed:g} is allowed). No file was written."
        )
    return facies.size, difference, int(np.count_nonzero(facies != expected.argmax(axis=0)))
