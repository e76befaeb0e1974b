"""Files that appear under their name only when they are whole, and where they may."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infer.errors import InferError, OutputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; renamed to `path` if the block ends well, removed if it does not.

    The temporary name ends as the final one does, since writers choose their format by that.
    """
    target = path.resolve()  # a link stays a link, and what it points to is replaced
    temporary = _temporary(target, path.name)
    try:
        yield temporary
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _temporary(target: Path, name: str) -> Path:
    return target.with_name(f".{uuid.uuid4().hex[:12]}.part.{name}")


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """`replacing`, with what the system does not take as a sentence.

    Raises OutputError: the disk or the folder does not take it.
    """
    try:
        with replacing(path) as temporary:
            yield temporary
    except InferError:  # some of ours are OSErrors too, and say what they mean
        raise
    except OSError as error:
        raise OutputError(f"{path} could not be written: {error.strerror or error}.") from error


def check_folder(path: Path) -> None:
    """Raise OutputError unless `path` is in a folder that can be written to, under a name that the system takes."""
    try:
        writable = path.parent.is_dir() and os.access(path.parent, os.W_OK)
        if writable:
            _temporary(path, path.name).lstat()  # which is longer than its own name
    except FileNotFoundError:
        pass
    except OSError as error:  # a name that is too long
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error
    if not writable:
        raise OutputError(f"{path} cannot be written: {path.parent} is not a folder that can be written to.")


def check_free(path: Path) -> None:
    """Raise OutputError where something has that name, be it a link to nothing."""
    if is_taken(path):
        raise OutputError(f"{path} is there already. Choose another name, or delete it first.")


def is_taken(path: Path) -> bool:
    """Whether something has that name; a link to nothing is in the way as well."""
    return os.path.lexists(path)


def check_not_survey(path: Path, survey: Path) -> None:
    """Raise OutputError where `path` leads to the survey's own file: names may differ in case, or be links."""
    try:
        same = path.samefile(survey)
    except OSError:  # one of them is not there
        return
    if same:
        raise OutputError(f"{path} is the survey itself; choose another name for the facies.")
