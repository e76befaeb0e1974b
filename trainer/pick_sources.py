"""Where a line's picks come from: files and folders of files, told apart by their names; and their checksum."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from infer.section import LineKind
from trainer.painting import LEGEND_SUFFIX, PAINTING_SUFFIX, Painting, is_painting, legend_of, read_painting
from trainer.pick_files import POINTS_SUFFIX, Picks, PicksError, read_picks

LABELS_SUFFIX = ".ixz"

_OTHER_PICTURES = (".bmp", ".gif", ".jpeg", ".jpg", ".tif", ".tiff", ".webp")


def pick_files(sources: Sequence[Path]) -> tuple[Path, ...]:
    """The files that are named, and those with picks in the folders that are named, each once.

    Of a folder's files, picks are in each .ixz, each .pts, and each .png that is named after a line.

    Raises PicksError: none are named, one is not there, or a folder has none.
    """
    if not sources:
        raise PicksError("No picks were given: name a file with picks, several, or a folder of them.")
    found: dict[Path, Path] = {}
    for source in sources:
        for file in _in_folder(source) if source.is_dir() else [source]:
            if not file.is_file():
                raise PicksError(f"There is no picks file at {file}.")
            found.setdefault(file.resolve(), file)
    return tuple(found.values())


def _in_folder(folder: Path) -> list[Path]:
    """The files with picks in a folder, by name."""
    try:
        files = sorted(file for file in folder.iterdir() if _holds_picks(file))
    except OSError as error:
        raise PicksError(f"{folder} cannot be read: {error.strerror}.") from error
    if not files:
        raise PicksError(
            f"The folder {folder} holds no picks: no {LABELS_SUFFIX} file, no {POINTS_SUFFIX} file, and no painted "
            f"picture that is named after its line, as inline_339{PAINTING_SUFFIX} is."
        )
    return files


def _holds_picks(file: Path) -> bool:
    if file.name.startswith(".") or not file.is_file():
        return False
    return file.suffix.lower() in (LABELS_SUFFIX, POINTS_SUFFIX) or is_painting(file)


def read_sources(files: Sequence[Path], legend: Path | None = None) -> list[Picks | Painting]:
    """What each file holds. legend: what the colours of painted pictures are, in place of the .legend beside each.

    Raises PicksError: one cannot be read, or there is a legend and no picture.
    """
    if legend is not None and not any(_is_picture(file) for file in files):
        raise PicksError(f"The legend {legend.name} is for painted pictures (.png), and there is none among the picks.")
    return [_read(file, legend) for file in files]


def _read(file: Path, legend: Path | None) -> Picks | Painting:
    suffix = file.suffix.lower()
    if suffix in _OTHER_PICTURES:
        raise PicksError(
            f"{file.name} is no .png: save the painted picture as one, which keeps colours as they were painted."
        )
    if suffix == LEGEND_SUFFIX:
        raise PicksError(f"{file.name} is a legend: give the picture, and the legend is found beside it.")
    return read_painting(file, legend) if _is_picture(file) else read_picks(file)


def _is_picture(file: Path) -> bool:
    return file.suffix.lower() == PAINTING_SUFFIX


def common_line(parts: Sequence[Picks | Painting]) -> tuple[LineKind, int]:
    """The one line that all picks of all files are on.

    Raises PicksError: they are on several, with which file is on which.
    """
    common = set.intersection(*(part.lines() for part in parts))
    if common:
        return max(common)  # by the alphabet: the inline, of the two lines through a single trace
    for part in parts:
        if isinstance(part, Picks):
            part.line()  # raises where the file alone is on several
    on = [f"{part.source} on {' '.join(map(str, max(part.lines())))}" for part in parts]
    more = f" and {len(on) - 4:,} more files" if len(on) > 4 else ""
    raise PicksError(f"The picks are not all on one line: {', '.join(on[:4])}{more}. Give the files of one line.")


def sha256(sources: Sequence[Path], legend: Path | None = None) -> str:
    """The checksum of the picks, legends included.

    Of a single file it is that of its bytes. Of several it is that of what `sha256sum` prints about them, ordered by
    name: a row a file with the checksum of its bytes, two spaces, its name.

    Raises PicksError: a file cannot be read.
    """
    files = pick_files(sources)
    legends = {found for file in files if _is_picture(file) and (found := legend_of(file, legend))}
    rows = sorted((file.name, _sha256_of(file)) for file in {*files, *legends})
    if len(rows) == 1:
        return rows[0][1]
    return hashlib.sha256("".join(f"{checksum}  {name}\n" for name, checksum in rows).encode()).hexdigest()


def _sha256_of(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise PicksError(f"{file} cannot be read: {error.strerror}.") from error
