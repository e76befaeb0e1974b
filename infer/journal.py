"""The journal of a long run: which of its blocks are done, kept beside its output so that it can go on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infer.errors import OutputError


class Journal:
    """Lines of JSON: first what the run is, then every block that is on the disk. A torn last line does not count."""

    def __init__(self, path: Path, run: Mapping[str, Any]) -> None:
        """The journal at `path` of that run (by name and JSON value: what must be the same for it to go on).

        Raises OutputError: the journal is another run's, or cannot be read.
        """
        self.path, self._run = path, json.loads(json.dumps(run))
        self.done: set[int] = set()
        if path.exists():
            self._read()

    def start(self) -> None:
        """Begin anew, with nothing done."""
        self.done = set()
        with self.path.open("wb") as file:
            _write_line(file, self._run)

    def add(self, block: int) -> None:
        """Note a block that is on the disk."""
        with self.path.open("ab") as file:
            _write_line(file, {"block": block})
        self.done.add(block)

    def remove(self) -> None:
        """The run is over."""
        self.path.unlink(missing_ok=True)

    def _read(self) -> None:
        try:
            lines = self.path.read_bytes().split(b"\n")[:-1]  # what follows the last line end is torn
            entries = [json.loads(line) for line in lines]
        except (OSError, ValueError) as error:
            raise OutputError(f"{self.path} cannot be read as the journal of a run: {error}.") from error
        if not entries:
            return
        other = {name for name in {**entries[0], **self._run} if entries[0].get(name) != self._run.get(name)}
        if other:
            name = next(name for name in {**self._run, **entries[0]} if name in other)
            raise OutputError(
                f"{self.path} is the journal of another run: its {name} is {_shown(entries[0].get(name))}, and "
                f"{_shown(self._run.get(name))} is asked for now. Ask for the same as then to go on with it, or start "
                "over with --restart."
            )
        self.done = {entry["block"] for entry in entries[1:]}


def _write_line(file: Any, entry: Mapping[str, Any]) -> None:
    file.write(json.dumps(entry).encode() + b"\n")
    file.flush()
    os.fsync(file.fileno())


def _shown(value: Any) -> str:
    return "not said" if value is None else value if isinstance(value, str) else json.dumps(value)
