"""The names of the networks, for what must know them before Keras is imported; and which names a model may have."""

from __future__ import annotations

from pathlib import Path

from infer.errors import OptionError, OutputError

NETWORK_NAMES = ("waldeland",)


def check_network(name: str) -> None:
    """Raise OptionError where there is no network of that name."""
    if name not in NETWORK_NAMES:
        raise OptionError(f"There is no network '{name}'. There is: {', '.join(NETWORK_NAMES)}.")


def check_model_name(name: str) -> None:
    """Raise OutputError where `name` cannot be that of a model's file."""
    if not name or Path(name).name != name:
        raise OutputError(f"A model's name is the name of its file, without folders, and '{name}' is not.")
