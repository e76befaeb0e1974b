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
from trainer.augmentation import NO_AUGMENTATION, Augmentation, mirrored_along_line, mixed
from trainer.dataset import LabelledSection, PatchBatches, TrainingBatches
from trainer.picks import PickCounts, PicksError, PlacedPicks, place_picks, read_line_picks, read_picks
from trainer.splits import split_apart, split_blocked, split_random


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
    split = split_random(labelled.picks, 7, 64)
    assert (split.train.size, split.validation.size, split.test.size) == (405, 45, 150)
    everything = np.concatenate([split.train, split.validation, split.test])
    np.testing.assert_array_equal(np.sort(everything), np.arange(600))
    np.testing.assert_array_equal(split.test, split_random(labelled.picks, 7, 64).test)
    assert set(split.test) != set(split_random(labelled.picks, 8, 64).test)
    assert split.summary() == {
        "method": "random", "seed": 7, "test_fraction": 0.25, "validation_fraction": 0.1,
        "train": 405, "validation": 45, "test": 150,
    }  # fmt: skip


def test_too_few_picks_to_split(labelled: LabelledSection) -> None:
    p = labelled.picks
    few = PlacedPicks(p.kind, p.number, p.trace[:4], p.sample[:4], p.facies[:4], p.counts)
    with pytest.raises(PicksError) as caught:
        split_random(few, 0, 64)
    assert str(caught.value) == "4 picks are too few to train, validate and test on."


def test_batches_are_of_one_size_and_other_ones_each_epoch(labelled: LabelledSection) -> None:
    which = np.arange(0, 600, 2)
    batches, again, later = (TrainingBatches(labelled, which, 8, 64, seed=3) for _ in range(3))
    later.draw(1)

    first, first_again, second_at_once = (epoch(of, [60] * 5) for of in (batches, again, later))
    assert first == first_again
    batches.draw(1)
    second = epoch(batches, [60] * 5)
    assert first != second
    assert second == second_at_once  # what an epoch holds depends on its number alone
    assert sorted(first[1]) == sorted(second[1]) == sorted(labelled.picks.facies[which].tolist())


def epoch(of: PatchBatches, sizes: list[int]) -> tuple[bytes, list[int]]:
    """The patches of an epoch as bytes, and their facies."""
    parts = [of[i] for i in range(of.num_batches)]
    assert [len(patches) for patches, _ in parts] == sizes
    facies = np.concatenate([one_hot for _, one_hot in parts]).argmax(axis=1)
    np.testing.assert_array_equal(facies, of.facies)
    return np.concatenate([patches for patches, _ in parts]).tobytes(), facies.tolist()


def test_an_epoch_may_hold_some_picks_and_as_many_of_every_facies(labelled: LabelledSection) -> None:
    which = np.flatnonzero((labelled.picks.facies != 3) | (labelled.picks.sample < 5))  # few of facies 3
    assert np.bincount(labelled.picks.facies[which]).tolist() == [0, 0, 200, 20, 0, 200]
    some = TrainingBatches(labelled, which, 8, 30, seed=3, per_epoch=90)
    balanced = TrainingBatches(labelled, which, 8, 30, seed=3, per_epoch=90, balanced=True)
    assert (some.patches, balanced.patches, balanced.num_batches) == (90, 90, 3)
    assert np.bincount(epoch(balanced, [30] * 3)[1]).tolist() == [0, 0, 30, 30, 0, 30]
    assert np.bincount(epoch(some, [30] * 3)[1])[3] < 20


def test_augmentation_changes_what_it_says_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    patches = rng.uniform(-0.5, 0.5, (400, 8, 8)).astype(np.float32)
    traces, samples = np.full(400, 50), np.full(400, 60)
    assert NO_AUGMENTATION.change(patches.copy(), rng).tobytes() == patches.tobytes()
    assert NO_AUGMENTATION.centres(traces, samples, rng) == (traces, samples)

    louder = Augmentation(gain=0.5).change(patches.copy(), rng)
    factors = louder[:, 0, 0] / patches[:, 0, 0]
    np.testing.assert_allclose(louder, patches * factors[:, None, None], rtol=1e-5)
    assert np.exp(-0.5) <= factors.min() < 0.7
    assert 1.5 < factors.max() <= np.exp(0.5) + 1e-5
    assert np.abs(Augmentation(gain=3.0).change(patches.copy(), rng)).max() == 1

    noise = Augmentation(noise=0.1).change(patches.copy(), rng) - patches
    assert 0.04 < noise.std() < 0.07  # of deviations spread evenly over 0 to 0.1

    moved_traces, moved_samples = Augmentation(shift=2).centres(traces, samples, rng)
    assert set(moved_traces) == set(range(48, 53))
    assert set(moved_samples) == set(range(58, 63))

    mirrored = Augmentation(mirror=True).change(patches.copy(), rng)
    turned = [not np.array_equal(one, other) for one, other in zip(mirrored, patches, strict=True)]
    assert 150 < sum(turned) < 250
    np.testing.assert_array_equal(mirrored[turned], mirrored_along_line(patches[turned]))


def test_mixed_patches_are_mixed_as_their_facies_are() -> None:
    """Patches that show their own facies as an amplitude: a mixed one shows the mixed facies."""
    true = np.arange(9).repeat(20)
    one_hot, value = np.eye(9, dtype=np.float32)[true], np.linspace(-1, 1, 9, dtype=np.float32)
    patches, facies = mixed(
        value[true][:, None, None] * np.ones((180, 4, 4), np.float32), one_hot, 0.5, np.random.default_rng(0)
    )
    np.testing.assert_allclose(patches, (facies @ value)[:, None, None] * np.ones((180, 4, 4)), atol=1e-6)
    np.testing.assert_allclose(facies.sum(axis=1), 1, atol=1e-6)
    assert (facies.argmax(axis=1) == true).mean() > 0.99
    assert 0.05 < 1 - facies.max(axis=1).mean() < 0.25


@pytest.mark.parametrize("size", [8, 9])
def test_a_mirrored_patch_keeps_its_centre(size: int) -> None:
    section = np.random.default_rng(0).standard_normal((21, 20)).astype(np.float32)
    patch = cut_patches(section, [10], [10], size)
    other_way = cut_patches(np.ascontiguousarray(section[::-1]), [10], [10], size)  # trace 10 of 21 is the middle one
    first = 1 - size % 2
    np.testing.assert_array_equal(mirrored_along_line(patch)[:, first:], other_way[:, first:])


def test_blocks_of_traces_are_tested_on_with_guards_between() -> None:
    trace = np.repeat(np.arange(951), 3)
    facies = np.zeros(trace.size, np.int8)
    picks = PlacedPicks("inline", 339, trace, np.tile([5, 50, 400], 951), facies, PickCounts(0, 0, 0, 0, 0, 0, 0))
    split = split_blocked(picks, 1, 64)
    sides = {name: np.unique(trace[part]) for name, part in split.parts().items()}
    tested = [n for n in range(951) if n // 48 in (1, 5, 9, 13, 17)]
    assert sides["test"].tolist() == tested
    near = {n + shift for n in tested for shift in range(-32, 33)}
    trained = np.concatenate([sides["train"], sides["validation"]])
    assert sorted(trained.tolist()) == [n for n in range(951) if n not in near]
    assert not set(sides["train"]) & set(sides["validation"])
    assert 0.08 < sides["validation"].size / trained.size < 0.13
    ends = [n for n in trained if n - 1 not in trained or n + 1 not in trained]
    assert set(ends) <= set(sides["train"].tolist())  # what is nearest to the test blocks is trained on
    assert not np.isin(trace[split.train][:, None] + np.arange(-32, 32), tested).any()
    assert np.abs(sides["train"][:, None] - np.array(tested)).min() == 33
    total = sum(part.size for part in split.parts().values()) + split.unused
    assert total == trace.size
    assert split.summary() == {
        "method": "blocked", "seed": 1, "block": 48, "guard": 32, "validation_fraction": 0.1, "train": split.train.size,
        "validation": split.validation.size, "test": split.test.size, "left_out": split.unused,
    }  # fmt: skip


def test_fewer_blocks_may_lie_further_from_what_is_trained_on() -> None:
    trace = np.repeat(np.arange(951), 3)
    facies = np.zeros(trace.size, np.int8)
    picks = PlacedPicks("inline", 339, trace, np.tile([5, 50, 400], 951), facies, PickCounts(0, 0, 0, 0, 0, 0, 0))
    split = split_apart(picks, 1, 122, slice(1, None, 8))
    tested = np.unique(trace[split.test])
    assert np.unique(tested // 48).tolist() == [1, 9, 17]
    trained = np.union1d(trace[split.train], trace[split.validation])
    assert np.abs(trained[:, None] - tested).min() == 123
    assert split.summary()["guard"] == 122


@pytest.mark.shared
def test_every_facies_of_the_real_picks_is_on_both_sides(shared: Path) -> None:
    _, picks = read_line_picks([shared / "f3/labels_inline339.ixz"], open_survey(shared / "f3/f3_lines.sgy"))
    split = split_blocked(picks, 2018, 64)
    for part in split.parts().values():
        assert np.unique(picks.facies[part]).tolist() == list(range(9))
    assert split.report(picks) == (
        "Split blocked: 52,068 to train on, 5,793 to validate on, 34,678 to test on, 48,572 left out between them."
    )


def test_a_side_without_a_facies_is_said(labelled: LabelledSection) -> None:
    split = split_blocked(labelled.picks, 0, 8)
    assert split.report(labelled.picks) == (
        "Split blocked: 390 to train on, 50 to validate on, 120 to test on, 40 left out between them. "
        "No pick to validate on is high_amplitude. No pick to test on is high_amp_continuous or low_amplitude."
    )


def test_a_line_too_short_for_blocks(labelled: LabelledSection) -> None:
    p = labelled.picks
    near = p.trace < 40
    short = PlacedPicks(p.kind, p.number, p.trace[near], p.sample[near], p.facies[near], p.counts)
    with pytest.raises(PicksError) as caught:
        split_blocked(short, 0, 64)
    assert str(caught.value) == (
        "The picks on inline 20 are too few, or on too few traces, to test on blocks of 48 traces with guards of 32: "
        "with `--split random` they can be trained on, and scores mean less."
    )
