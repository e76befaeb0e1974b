"""Patches against a slow, obvious twin: pad the section, then slice."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from infer import _kernels
from infer.errors import OptionError
from infer.patches import cut_patches


def slow_patches(section, traces, samples, size):
    padded = np.pad(section, size)
    first = np.array([traces, samples]).T + size - size // 2
    return np.stack([padded[i : i + size, j : j + size] for i, j in first])


def section_of(n_traces, n_samples):
    return np.random.default_rng(n_traces).standard_normal((n_traces, n_samples)).astype(np.float32)


def every_sample(section):
    return (indices.ravel() for indices in np.indices(section.shape))


@pytest.mark.parametrize("size", [1, 2, 3, 8, 9, 64, 65])
@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (30, 12), (12, 70)])
def test_every_patch_of_a_section_equals_its_slow_twin(shape, size):
    section = section_of(*shape)
    traces, samples = every_sample(section)
    np.testing.assert_array_equal(
        cut_patches(section, traces, samples, size), slow_patches(section, traces, samples, size)
    )


@pytest.mark.skipif(not hasattr(_kernels.cut, "py_func"), reason="the JIT is off already")
def test_the_kernel_means_the_same_without_the_jit():
    section = section_of(9, 11)
    traces, samples = every_sample(section)
    compiled, plain = np.full((2, traces.size, 6, 6), np.nan, np.float32)
    _kernels.cut(section, traces, samples, compiled)
    _kernels.cut.py_func(section, traces, samples, plain)
    np.testing.assert_array_equal(compiled, plain)


def test_this_file_passes_with_the_jit_off():
    if os.environ.get("NUMBA_DISABLE_JIT") == "1":
        pytest.skip("this is that run")
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            __file__,
            "-k",
            "slow_twin and not 64 and not 65",
        ],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout
    assert "20 passed" in run.stdout


def test_centres_may_lie_far_outside():
    section = section_of(4, 4)
    patches = cut_patches(section, [-100, 3, 100], [0, 100, -100], 8)
    assert not patches.any()


def test_a_patch_of_an_even_size_has_its_centre_after_the_middle():
    section = np.zeros((9, 9), np.float32)
    section[4, 5] = 1
    assert cut_patches(section, [4], [5], 4)[0, 2, 2] == 1


def test_out_is_filled_and_returned():
    section, out = section_of(6, 6), np.full((2, 3, 3), np.nan, np.float32)
    assert cut_patches(section, [0, 5], [0, 5], 3, out) is out
    np.testing.assert_array_equal(out, slow_patches(section, [0, 5], [0, 5], 3))


@pytest.mark.parametrize(
    ("section", "traces", "samples", "size", "out", "sentence"),
    [
        (section_of(3, 3), [0], [0], 0, None, "A patch has at least one sample, so a patch size of 0 makes no sense."),
        (
            section_of(3, 3).astype(float),
            [0],
            [0],
            3,
            None,
            "Patches are cut from a C-contiguous float32 array [trace, sample], not from float64 of shape (3, 3).",
        ),
        (
            section_of(3, 4).T,
            [0],
            [0],
            3,
            None,
            "Patches are cut from a C-contiguous float32 array [trace, sample], not from float32 of shape (4, 3).",
        ),
        (
            section_of(3, 3),
            [0, 1],
            [0],
            3,
            None,
            "Every patch needs a trace and a sample: got (2,) traces and (1,) samples.",
        ),
        (
            section_of(3, 3),
            [0],
            [0],
            3,
            np.empty((2, 3, 3), np.float32),
            "`out` must be C-contiguous float32 of shape (1, 3, 3), not float32 of shape (2, 3, 3).",
        ),
    ],
)
def test_what_cannot_be_cut_is_said_in_a_sentence(section, traces, samples, size, out, sentence):
    with pytest.raises(OptionError) as error:
        cut_patches(section, traces, samples, size, out)
    assert str(error.value) == sentence
