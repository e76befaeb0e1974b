"""A section that a host program puts together from its own arrays."""

from __future__ import annotations

import numpy as np
import pytest

from infer import Section
from infer.errors import OptionError

FITTING = {
    "kind": "inline",
    "number": 339,
    "amplitude": np.zeros((4, 3), np.float32),
    "inline": np.full(4, 339, np.int32),
    "crossline": np.arange(4, dtype=np.int32),
    "twt_ms": np.arange(3.0),
    "live": np.ones(4, np.bool_),
}


def test_arrays_that_fit_together_are_a_section():
    assert Section(**FITTING).shape == (4, 3)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"kind": "timeslice"}, "A section is an inline or a crossline, not 'timeslice'."),
        ({"amplitude": [[0.0]]}, "A section's amplitude is an array with the axes trace, sample."),
        ({"amplitude": np.zeros((4, 3, 1))}, "A section's amplitude is an array with the axes trace, sample."),
        (
            {"live": np.ones(2, np.bool_)},
            "A section of 4 traces and 3 samples has 4 values in `live`, and this one has 2: its axes are trace, "
            "sample.",
        ),
        (
            {"amplitude": np.zeros((3, 4), np.float32)},
            "A section of 3 traces and 4 samples has 3 values in `inline`, and this one has 4: its axes are trace, "
            "sample.",
        ),
        (
            {"twt_ms": np.arange(1_000.0)},
            "A section of 4 traces and 3 samples has 3 values in `twt_ms`, and this one has 1,000: its axes are "
            "trace, sample.",
        ),
    ],
)
def test_arrays_that_do_not_are_refused(change, sentence):
    with pytest.raises(OptionError) as error:
        Section(**FITTING | change)
    assert str(error.value) == sentence
