from __future__ import annotations

import numpy as np
import pytest

from infer.amplitude import estimate_clip, scale_amplitude, silence
from infer.errors import OptionError


def test_scaling_clips_and_keeps_zero():
    amplitude = np.array([[-90, -45, 0, 22.5, 46]], np.float32)
    scaled = scale_amplitude(amplitude, 45)
    np.testing.assert_array_equal(scaled, np.array([[-1, -1, 0, 0.5, 1]], np.float32))
    assert scaled.dtype == np.float32
    assert scaled.flags.c_contiguous


def test_scaling_leaves_its_input_alone():
    amplitude = np.array([[np.nan, 3]], np.float32)
    scale_amplitude(amplitude, 1)
    np.testing.assert_array_equal(amplitude, np.array([[np.nan, 3]], np.float32))


def test_scaling_takes_any_layout():
    amplitude = np.arange(6, dtype=np.float64).reshape(2, 3).T
    np.testing.assert_array_equal(scale_amplitude(amplitude, 10), (amplitude / 10).astype(np.float32))
    assert scale_amplitude(amplitude, 10).flags.c_contiguous


def test_what_is_no_amplitude_becomes_silence_and_is_counted():
    amplitude = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 9e29, 5], np.float32)
    assert silence(amplitude) == 5
    np.testing.assert_array_equal(amplitude, np.array([0, 0, 0, 0, 0, 9e29, 5], np.float32))


def test_the_clip_is_the_99th_percentile():
    amplitude = np.arange(-500, 501, dtype=np.float32)
    assert estimate_clip(amplitude) == np.sort(np.abs(amplitude))[990]


@pytest.mark.parametrize("amplitude", [np.zeros((3, 4), np.float32), np.zeros((0, 4), np.float32)])
def test_silence_has_a_clip_that_one_can_divide_by(amplitude):
    assert estimate_clip(amplitude) == 1


@pytest.mark.parametrize(
    ("clip", "said"), [(0, "0"), (-3, "-3"), (np.nan, "nan"), (np.inf, "inf"), (1e-50, "1e-50"), (1e300, "1e+300")]
)
def test_a_clip_must_be_positive(clip, said):
    with pytest.raises(OptionError) as error:
        scale_amplitude(np.ones((1, 1), np.float32), clip)
    assert str(error.value) == f"The amplitude clip must be a positive number of 32 bits, not {said}."
