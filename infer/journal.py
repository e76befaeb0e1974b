"""The journal of a long run: which of its blocks are done, kept beside its output so that it can go on."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from infer.errors import OutputError

_BEGINS = b'{"source": '
CHANGED = "source's last change"


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

    @contextmanager
    def started(self) -> Iterator[None]:
        """Begin anew, with nothing done, and keep other runs from it.

        Raises OutputError: another one is at work.
        """
        self.path.touch()
        with held(self.path):
            self.done = set()
            with self.path.open("r+b") as file:
                file.truncate()
                _write_line(file, self._run)
            yield

    def add(self, block: int) -> None:
        """Note a block that is on the disk."""
        with self.path.open("ab") as file:
            _write_line(file, {"block": block})
        self.done.add(block)

    def remove(self) -> None:
        """The run is over."""
        self.path.unlink(missing_ok=True)

    @contextmanager
    def held(self) -> Iterator[None]:
        """`held`, for a run that was started.

        Raises OutputError: another one is at work, or was since this one was prepared.
        """
        before = self.done
        with held(self.path):
            with self.path.open("r+b") as file:  # what is torn would go on in the next line
                file.truncate(file.read().rfind(b"\n") + 1)
            self._read()
            if self.done != before:
                raise OutputError(f"Another run has been at work on {self.path} meanwhile. The same command goes on.")
            yield

    def _read(self) -> None:
        try:
            lines = self.path.read_bytes().split(b"\n")[:-1]  # what follows the last line end is torn
            entries = [dict(json.loads(line)) for line in lines]
            done = {int(entry["block"]) for entry in entries[1:]}
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise OutputError(f"{self.path} cannot be read as the journal of a run: {error}.") from error
        if not entries:
            return
        then = {CHANGED: self._run.get(CHANGED)} | entries[0]  # older journals do not say it
        other = {name for name in {**then, **self._run} if then.get(name) != self._run.get(name)}
        if other == {CHANGED}:
            raise OutputError(
                f"The survey was changed or copied at {self._run[CHANGED]}, since this run was begun: it was of "
                f"{then[CHANGED]}. If nothing in it has changed, set that time again (`touch -d`); else start over "
                "with --restart."
            )
        if other:
            name = next(name for name in {**self._run, **then} if name in other)
            raise OutputError(
                f"{self.path} is the journal of another run: its {name} is {_shown(then.get(name))}, and "
                f"{_shown(self._run.get(name))} is asked for now. Ask for the same as then to go on with it, or start "
                "over with --restart."
            )
        self.done = done


def begun(path: Path) -> dict[str, Any]:
    """What the run is that the journal at `path` is of; nothing where there is none, or it was not yet said.

    Raises OutputError: what has that name is no journal.
    """
    try:
        first, *more = path.read_bytes().split(b"\n", 1)
    except FileNotFoundError:
        return {}
    with suppress(ValueError):
        run = json.loads(first)
        if isinstance(run, dict) and "version" in run and isinstance(run.get("output"), list):
            return run
    if more or not (first.startswith(_BEGINS) or _BEGINS.startswith(first)):  # torn, it has no line end
        raise OutputError(f"{path} cannot be read as the journal of a run. Move it away, or choose another name.")
    return {}


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Keep other runs from the output that the journal at `path` is of, where the file system has locks.

    A killed process holds nothing. Raises OutputError: another run is at work.
    """
    try:
        file = path.open("rb+")
    except FileNotFoundError as error:
        raise OutputError(f"{path} is gone: another run has ended that was at work on the same output.") from error
    with file:
        if not _locked(file):
            raise OutputError(
                f"Another run is at work on the same output: it holds {path}. Wait for it, stop it, or choose another "
                "name."
            )
        yield


def _locked(file: Any) -> bool:
    """Take the file's lock until it is closed, unless somebody else has it. Where there are no locks, nobody has."""
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(2**30)  # what is locked there cannot be read by others: it lies behind all that there is
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
    return True


def _write_line(file: Any, entry: Mapping[str, Any]) -> None:
    file.write(json.dumps(entry).encode() + b"\n")
    file.flush()
    os.fsync(file.fileno())


def _shown(value: Any) -> str:
    return "not said" if value is None else value if isinstance(value, str) else json.dumps(value)
