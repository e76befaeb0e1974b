"""A whole survey's facies as Zarr, which opens in xarray with inline, crossline and twt_ms coordinates.

Dimension names, a `trace_mask` and units as attributes are as in MDIO (TGSAI/mdio-python); facies have the flags of the
CF conventions.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from infer.cube_plan import FACIES, Block, Plan, name_of_file
from infer.section import NO_DATA

DIMENSIONS = ("inline", "crossline", "twt_ms")

_ACROSS, _OF_BOTH, _SAMPLES = 128, 32, 128
"""Lines across the computed ones in a chunk; lines of either kind where both directions are computed; samples."""


class ZarrStore:
    """One group for all quantities. Blocks hold whole chunks, so that any process may write any block."""

    warnings: tuple[str, ...] = ()

    def __init__(self, plan: Plan, partial: Path) -> None:
        """partial: where to write until all is whole."""
        self._plan, self._partial = plan, partial
        across = {"inline": (plan.block_shape[0], _ACROSS), "crossline": (_ACROSS, plan.block_shape[1])}
        lines = across.get(plan.request.along, (_OF_BOTH, _OF_BOTH))
        self._chunks = tuple(min(size, length) for size, length in zip((*lines, _SAMPLES), plan.box.shape, strict=True))

    @property
    def bytes_needed(self) -> int:
        """On the disk, at most: it is compressed."""
        return sum(dtype.itemsize for dtype in self._plan.quantities.values()) * int(np.prod(self._plan.box.shape))

    def create(self, *, filled: bool) -> None:  # noqa: ARG002 - what is not there yet reads as no data
        """The group, its coordinates and arrays without anything in them."""
        plan = self._plan
        group = zarr.open_group(self._partial, mode="w", zarr_format=3, attributes=self._attributes())
        box, survey = plan.box, plan.survey
        coordinates: dict[str, NDArray[Any]] = {
            "inline": survey.inlines.numbers()[box.inlines.start : box.inlines.stop],
            "crossline": survey.crosslines.numbers()[box.crosslines.start : box.crosslines.stop],
            "twt_ms": survey.twt_ms[box.samples.start : box.samples.stop],
        }
        for name, values in coordinates.items():
            units = {"units": "ms", "sample_interval_ms": survey.sample_interval_ms} if name == "twt_ms" else {}
            array = group.create_array(name, data=values, dimension_names=[name], attributes=units)
            assert array.shape == values.shape  # noqa: S101
        for name, dtype in plan.quantities.items():
            group.create_array(
                name_of_file(name),
                shape=box.shape,
                chunks=self._chunks,
                dtype=dtype,
                fill_value=NO_DATA if name == FACIES else float("nan"),
                dimension_names=DIMENSIONS,
                attributes=self._facies_attributes() if name == FACIES else {},
            )
        group.create_array("trace_mask", data=self._trace_mask(), dimension_names=DIMENSIONS[:2])

    def write(self, block: Block, values: Mapping[str, NDArray[Any]]) -> None:
        """Put a block's values `[inline, crossline, sample]` by quantity where they belong, and wait for the disk."""
        box = self._plan.box
        inlines = slice(block.inlines.start - box.inlines.start, block.inlines.stop - box.inlines.start)
        crosslines = slice(block.crosslines.start - box.crosslines.start, block.crosslines.stop - box.crosslines.start)
        group = zarr.open_group(self._partial, mode="r+")
        for name, array in values.items():
            group[name_of_file(name)][inlines, crosslines] = array
        if hasattr(os, "sync"):  # a block is many files
            os.sync()

    def _trace_mask(self) -> NDArray[np.bool_]:
        """Where the survey has a trace, `[inline, crossline]`."""
        survey, box = self._plan.survey, self._plan.box
        mask = np.zeros((survey.inlines.count, survey.crosslines.count), np.bool_)
        inline = (survey.inline_of_trace - survey.inlines.first) // survey.inlines.step
        mask[inline, (survey.crossline_of_trace - survey.crosslines.first) // survey.crosslines.step] = True
        return mask[box.inlines.start : box.inlines.stop, box.crosslines.start : box.crosslines.stop]

    def _attributes(self) -> dict[str, Any]:
        plan = self._plan
        return {
            "source": plan.survey.path.name,
            "model": plan.model.card.name,
            "direction": plan.request.along,
            "amplitude_clip": plan.clip,
            "model_card": plan.model.card.to_json(),
        }

    def _facies_attributes(self) -> dict[str, Any]:
        card = self._plan.model.card
        return {
            "flag_values": list(range(len(card.facies_names))),
            "flag_meanings": " ".join(name.replace(" ", "_") for name in card.facies_names),
            "facies_names": list(card.facies_names),
            "facies_colours": list(card.facies_colours),
            "no_data": NO_DATA,
        }
