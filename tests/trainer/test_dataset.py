"""Training patches are inference patches; splits and batches hold every pick once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow", exc_type=ImportError, reason="training needs TensorFlow")
pytest.importorskip("keras", exc_type=ImportError, reason="training needs Keras")

from infer.amplitude import scale_amplitude
from infer.patches import cut_patches
from infer.survey import open_survey
from trainer.dataset import LabelledSection, PatchBatches
from trainer.picks import PicksError, PlacedPicks, place_picks, read_picks
from trainer.splits import split_random


@pytest.fixture
def labelled(tiny_survey: Path, tiny_picks: Path) -> LabelledSection:
    picks = read_picks(tiny_picks)
    survey = open_survey(tiny_survey)
    section = survey.read_line(*picks.line())
    return LabelledSection.of(section, survey.amplitude_clip, place_picks(picks, section))


@pytest.mark.parametrize("patch_size", [64, 65])
def test_training_sees_the_bytes_that_inference_sees(
    labelled: LabelledSection, tiny_survey: Path, patch_size: int
) -> None:
    survey = open_survey(tiny_survey)
    scaled = scale_amplitude(survey.read_inline(20).amplitude, survey.amplitude_clip)
    padded = np.pad(scaled, patch_size)
    which = np.arange(labelled.picks.facies.size)
    batches = PatchBatches(labelled, which, patch_size)
    training = np.concatenate([batches[i][0] for i in range(batches.num_batches)])
    inference = cut_patches(scaled, labelled.picks.trace, labelled.picks.sample, patch_size)
    assert training.tobytes() == inference.tobytes()
    for k in (0, 123, which.size - 1):
        i = int(labelled.picks.trace[k]) + patch_size - patch_size // 2
        j = int(labelled.picks.sample[k]) + patch_size - patch_size // 2
        np.testing.assert_array_equal(training[k], padded[i : i + patch_size, j : j + patch_size])


def test_the_random_split_holds_every_pick_once(labelled: LabelledSection) -> None:
    split = split_random(labelled.picks, 7)
    assert (split.train.size, split.validation.size, split.test.size) == (405, 45, 150)
    everything = np.concatenate([split.train, split.validation, split.test])
    np.testing.assert_array_equal(np.sort(everything), np.arange(600))
    np.testing.assert_array_equal(split.test, split_random(labelled.picks, 7).test)
    assert set(split.test) != set(split_random(labelled.picks, 8).test)
    assert split.summary() == {
        "method": "random", "seed": 7, "test_fraction": 0.25, "validation_fraction": 0.1,
        "train": 405, "validation": 45, "test": 150,
    }  # fmt: skip


def test_too_few_picks_to_split(labelled: LabelledSection) -> None:
    p = labelled.picks
    few = PlacedPicks(p.kind, p.number, p.trace[:4], p.sample[:4], p.facies[:4], p.counts)
    with pytest.raises(PicksError) as caught:
        split_random(few, 0)
    assert str(caught.value) == "4 picks are too few to train, validate and test on."


def test_batches_are_of_one_size_and_shuffled_anew_each_epoch(labelled: LabelledSection) -> None:
    which = np.arange(0, 600, 2)
    batches, again = (PatchBatches(labelled, which, 8, shuffle_seed=3, batch_size=64) for _ in range(2))

    def epoch(of: PatchBatches) -> list[np.ndarray]:
        parts = [of[i] for i in range(of.num_batches)]
        assert [len(patches) for patches, _ in parts] == [60] * 5
        facies = np.concatenate([one_hot for _, one_hot in parts])
        np.testing.assert_array_equal(facies.argmax(axis=1), of.facies)
        return [facies, np.concatenate([patches for patches, _ in parts])]

    first, first_again = epoch(batches), epoch(again)
    for one, other in zip(first, first_again, strict=True):
        np.testing.assert_array_equal(one, other)
    batches.on_epoch_end()
    second = epoch(batches)
    assert not np.array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[0].sum(axis=0), second[0].sum(axis=0))
