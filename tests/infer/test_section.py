"""A section that a host program puts together from its own arrays."""

from __future__ import annotations

import warnings

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


def test_a_hosts_amplitudes_are_a_section():
    amplitude = np.array([[1, 2, 3], [0, 0, 0], [4, 1e30, np.nan]], np.float64)
    section = Section.from_amplitude(
        amplitude, "crossline", 500, crossing=[100, 101, 102], sample_interval_ms=2, first_twt_ms=8
    )
    np.testing.assert_array_equal(section.amplitude, np.array([[1, 2, 3], [0, 0, 0], [4, 0, 0]], np.float32))
    assert section.live.tolist() == [True, False, True]
    assert section.silenced == 2
    assert section.inline.tolist() == [100, 101, 102]
    assert section.crossline.tolist() == [500] * 3
    assert section.twt_ms.tolist() == [8, 10, 12]
    assert amplitude[2, 1] == 1e30  # the host's own array is left alone


@pytest.mark.parametrize("amplitude", [1.0, [1.0, 2.0], np.zeros((2, 0)), np.zeros((2, 2, 2))])
def test_amplitudes_without_two_axes_are_refused(amplitude):
    with pytest.raises(OptionError, match="an array with the axes trace, sample"):
        Section.from_amplitude(amplitude)


def test_amplitudes_too_large_for_32_bits_are_silence_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        section = Section.from_amplitude(np.array([[1, -1e300], [1e300, 2]]))
    assert section.amplitude.tolist() == [[1, 0], [0, 2]]
    assert section.silenced == 2


@pytest.mark.parametrize(
    "amplitude", [[["a", "b"]], [[1, 2], [3]], np.ones((2, 2), complex), np.zeros((2, 2), "M8[s]"), {}, None]
)
def test_amplitudes_that_are_no_real_numbers_are_refused(amplitude):
    with pytest.raises(OptionError, match="amplitude"):
        Section.from_amplitude(amplitude)


def test_crossing_numbers_are_one_a_trace():
    with pytest.raises(OptionError, match="has 4 values in `crossline`, and this one has 2"):
        Section.from_amplitude(np.eye(4), crossing=[1, 2])


@pytest.mark.parametrize(
    "crossing", [[1, 2.5], [1, np.nan], [1, 2**40], ["a", "b"], [False, True], [1, [2, 3]], [[1, 2]], 3, [1, None]]
)
def test_line_numbers_are_whole_numbers(crossing):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(OptionError) as caught:
            Section.from_amplitude(np.eye(2), crossing=crossing)
    assert str(caught.value) == (
        "Line numbers are whole numbers of 32 bits at most, and `crossing` is not an array of them."
    )


@pytest.mark.parametrize("number", [1.5, np.nan, 2**40, "a", True, [1], None])
def test_a_lines_number_is_a_whole_number(number):
    with pytest.raises(OptionError, match="and `number` is not one of them"):
        Section.from_amplitude(np.eye(2), number=number)


@pytest.mark.parametrize("number", [3, np.int64(3), 3.0, np.uint8(3)])
def test_whole_numbers_of_any_type_are_line_numbers(number):
    crossing = np.array([1, 5], object)
    section = Section.from_amplitude(np.eye(2), number=number, crossing=crossing)
    assert (section.number, type(section.number), section.crossing.tolist()) == (3, int, [1, 5])


@pytest.mark.parametrize("crossing", [[2, 1], [1, 1]])
def test_crossing_numbers_ascend(crossing):
    with pytest.raises(OptionError) as caught:
        Section.from_amplitude(np.eye(2), crossing=crossing)
    assert str(caught.value) == (
        "The crossing lines' numbers ascend along a section: turn it round where they descend."
    )


@pytest.mark.parametrize(
    "times",
    [{"sample_interval_ms": 0}, {"first_twt_ms": np.nan}, {"sample_interval_ms": np.inf}, {"first_twt_ms": "4"}],
)
def test_times_are_some_ms_apart(times):
    with pytest.raises(OptionError, match=r"^A section's samples begin at a time and are some ms apart, not at "):
        Section.from_amplitude(np.eye(2), **times)
