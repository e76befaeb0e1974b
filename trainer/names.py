"""The names of networks, recipes, splits and precisions, for what must know them without Keras; and names of files."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

from infer.errors import OptionError, OutputError

NETWORK_NAMES = ("waldeland", "vgg16", "resnet50", "vgg16-context")
PRETRAINED = ("vgg16", "resnet50", "vgg16-context")
"""Those that start from ImageNet weights."""
CONTEXT = {"waldeland": 0, "vgg16": 0, "resnet50": 0, "vgg16-context": 180}
"""Traces and samples of a patch, on both sides together, that a network sees in the place of padding."""
PATCH_SIZES = {network: 64 + context for network, context in CONTEXT.items()}
"""By default."""
SMALLEST_PATCH = {"waldeland": 8, "vgg16": 32, "resnet50": 32, "vgg16-context": 212}
"""Below it nothing is left of a patch after the network's strides, or Keras refuses."""
LARGEST_PATCH = 1_024
"""Above it not even the network fits into memory, or not for long."""
RECIPE_NAMES = {
    "waldeland": ("default", "paper"),
    "vgg16": ("default", "paper"),
    "resnet50": ("default", "paper"),
    "vgg16-context": ("default", "quick"),
}
SPLIT_NAMES = ("blocked", "random")
PRECISION_NAMES = ("fp32", "fp16", "int8")


def check_network(name: str) -> None:
    """Raise OptionError where there is no network of that name."""
    _check_known("network", name, NETWORK_NAMES)


def check_recipe(network: str, name: str) -> None:
    """Raise OptionError where the network has no recipe of that name."""
    _check_known("recipe", name, RECIPE_NAMES[network], f" for {network}")


def check_split(name: str) -> None:
    """Raise OptionError where there is no split of that name."""
    _check_known("split", name, SPLIT_NAMES)


def check_precision(name: str) -> None:
    """Raise OptionError where there is no precision of that name."""
    _check_known("precision", name, PRECISION_NAMES)


def check_patch_size(network: str, patch_size: int) -> None:
    """Raise OptionError where the network takes no patches as small or as large as that."""
    smallest = SMALLEST_PATCH[network]
    if patch_size < smallest:
        raise OptionError(f"{network} takes patches of {smallest} samples and more, not of {patch_size}.")
    if patch_size > LARGEST_PATCH:
        raise OptionError(f"{network} takes patches of {LARGEST_PATCH:,} samples at most, not of {patch_size:,}.")


def check_model_name(name: str) -> None:
    """Raise OutputError where `name` cannot be that of a model's file."""
    if not name.strip(". ") or Path(name).name != name:
        raise OutputError(f"A model's name is the name of its file, without folders, and '{name}' is not.")
    if name.lower().endswith(".onnx"):
        raise OutputError(f"A model's name is that of its file without .onnx: '{name[:-5]}' in place of '{name}'.")
    if name.lower().endswith(".slice"):
        raise OutputError(f"A model's name does not end in .slice, as its slice model's does: not '{name}'.")


def numbered(name: str) -> Iterator[str]:
    """The name, and then that name with a number, without end: for something that has a name of its own."""
    yield name
    yield from (f"{name}-{number}" for number in count(2))


def quoted(word: object) -> str:
    """A word of a command that one pastes into a shell.

    >>> quoted("my runs/first")
    '"my runs/first"'
    """
    return f'"{word}"' if " " in str(word) else str(word)


def _check_known(what: str, name: str, known: tuple[str, ...], for_what: str = "") -> None:
    if name not in known:
        there_are = f"There is: {known[0]}" if len(known) == 1 else f"There are: {', '.join(known)}"
        raise OptionError(f"There is no {what} '{name}'{for_what}. {there_are}.")
