"""One axis of a patch, followed by hand."""

from __future__ import annotations

import pytest

from trainer.slice_axes import Axis, Position, Read, Run, Tap, axis_after, padded, pass_needs_on, patch_axis, runs


def convolved(axis: Axis, kernel: int, stride: int, before: int, positions: int) -> Axis:
    """After a convolution with so many zeros before the patch."""
    begins = [stride * at - before for at in range(positions)]
    return axis_after(
        [axis],
        [[Read(begin + tap, tap) for tap in range(kernel) if 0 <= begin + tap < len(axis)] for begin in begins],
    )


def test_a_patch_is_one_function_at_every_shift() -> None:
    axis = patch_axis(3)
    assert axis.positions == (Position(0, 0), Position(0, 1), Position(0, 2))
    assert (axis.functions, axis.constant, len(axis)) == (((),), (False,), 3)


def test_same_padding_makes_three_functions() -> None:
    """A kernel of 3 on a patch of 6: the first position lacks a tap, the last another, those between lack none."""
    axis = convolved(patch_axis(6), kernel=3, stride=1, before=1, positions=6)
    first, between, last = axis.functions
    assert first == (Tap(0, 1, 0, 0), Tap(0, 2, 0, 1))
    assert between == (Tap(0, 0, 0, 0), Tap(0, 1, 0, 1), Tap(0, 2, 0, 2))
    assert last == (Tap(0, 0, 0, 0), Tap(0, 1, 0, 1))
    assert [position.function for position in axis.positions] == [0, 1, 1, 1, 1, 2]
    assert [position.shift for position in axis.positions] == [0, 0, 1, 2, 3, 4]
    assert axis.constant == (False,) * 3


@pytest.mark.parametrize(
    ("kernel", "stride", "before", "positions", "functions"),
    [
        (3, 1, 0, 14, 1),  # 'valid': no position meets padding
        (3, 2, 0, 8, 2),  # 'same' at an even size and stride 2: the last alone
        (5, 1, 2, 16, 5),  # two on either side, and one between
        (1, 1, 0, 16, 1),
    ],
)
def test_how_many_functions_a_convolution_has(
    kernel: int, stride: int, before: int, positions: int, functions: int
) -> None:
    assert len(convolved(patch_axis(16), kernel, stride, before, positions).functions) == functions


def test_functions_grow_where_every_layer_meets_the_padding() -> None:
    axis, found = patch_axis(16), []
    for _ in range(8):
        axis = convolved(axis, 3, 1, 1, 16)
        found.append(len(axis.functions))
    assert found == [3, 5, 7, 9, 11, 13, 15, 16]


def test_the_last_position_alone_meets_padding_down_a_pyramid() -> None:
    """As in the Waldeland network: an even size, 'same' padding and stride 2."""
    axis = patch_axis(64)
    for size in (32, 16, 8, 4, 2):
        axis = convolved(axis, 3, 2, 0, size)
        assert [position.function for position in axis.positions] == [0] * (size - 1) + [1]
    assert axis.positions == (Position(0, 0), Position(1, 32))


def test_padding_is_a_function_that_begins_nowhere() -> None:
    axis = padded(patch_axis(3), 2, 1)
    assert [position.function for position in axis.positions] == [1, 1, 0, 0, 0, 1]
    assert (axis.functions, axis.constant) == (((Tap(0, 0, 0, 0),), ()), (False, True))
    # Nor does what reads nothing else; what reads something else as well begins there.
    after = convolved(axis, 2, 1, 0, 5)
    assert after.constant == (True, False, False, False)
    assert after.functions[0] == (Tap(0, 0, 1, 0), Tap(0, 1, 1, 0))
    assert after.functions[1] == (Tap(0, 0, 1, 0), Tap(0, 1, 0, 0))
    assert after.functions[3] == (Tap(0, 0, 0, 0), Tap(0, 1, 1, 0))
    assert after.positions == (Position(0, 0), Position(1, 0), Position(2, 0), Position(2, 1), Position(3, 2))


def test_negative_padding_takes_positions_off() -> None:
    assert padded(patch_axis(5), -1, -2).positions == (Position(0, 1), Position(0, 2))
    assert [position.shift for position in padded(patch_axis(3), -2, 1).positions] == [2, 0]


def test_two_sources_are_one_function_where_they_move_together() -> None:
    """A residual connection around a 'same' convolution."""
    patch = patch_axis(5)
    axes = [convolved(patch, 3, 1, 1, 5), patch]
    axis = axis_after(axes, [[Read(at, 0, 0), Read(at, 0, 1)] for at in range(5)])
    assert [position.function for position in axis.positions] == [0, 1, 1, 1, 2]
    assert axis.functions[1] == (Tap(0, 0, 1, 0), Tap(1, 0, 0, 1))
    assert [position.shift for position in axis.positions] == [0, 0, 1, 2, 3]


def test_needs_go_back_to_the_patch() -> None:
    patch = patch_axis(8)
    axis = convolved(patch, 3, 2, 0, 4)
    dense = axis_after([axis], [[Read(at, at) for at in range(4)]])
    dense.need(0, 0, 0)
    pass_needs_on(dense, [axis])
    assert axis.needed == {0: (0, 4), 1: (6, 6)}
    pass_needs_on(axis, [patch])
    assert patch.needed == {0: (0, 7)}


def test_runs_are_regular_and_of_one_function() -> None:
    taps = [
        Tap(0, tap, function, shift) for tap, (function, shift) in enumerate([(0, 0), (0, 2), (0, 4), (1, 6), (0, 5)])
    ]
    found = list(runs(taps))
    assert found == [Run(0, (0, 1, 2), 0, 4), Run(0, (4,), 5, 5), Run(1, (3,), 6, 6)]
    assert [run.dilation for run in found] == [2, 1, 1]


def test_taps_on_one_place_are_runs_of_their_own() -> None:
    taps = [Tap(0, 0, 0, 3), Tap(0, 1, 0, 3), Tap(0, 2, 0, 5)]
    assert list(runs(taps)) == [Run(0, (0,), 3, 3), Run(0, (1, 2), 3, 5)]
