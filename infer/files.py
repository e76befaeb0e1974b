"""Files that appear under their name only when they are whole, and files of several names."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; renamed to `path` if the block ends well, removed if it does not.

    The temporary name ends as the final one does, since writers choose their format by that.
    """
    target = path.resolve()  # a link stays a link, and what it points to is replaced
    temporary = target.with_name(f".{uuid.uuid4().hex[:12]}.part.{path.name}")
    try:
        yield temporary
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file: by the file itself, since names may differ in case, or be links."""
    return one.exists() and other.exists() and one.samefile(other)
