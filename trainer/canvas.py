"""A line as a picture to paint picks on: a pixel a sample, in grey; and beside it what the colours of paint are."""

from __future__ import annotations

from pathlib import Path

from matplotlib.image import imsave

from infer.errors import OutputError
from infer.facies import FACIES
from infer.files import writing
from infer.section import Section
from trainer.painting import BACKGROUND, LEGEND_SUFFIX, PAINTING_SUFFIX
from trainer.runs import write_text


def write_canvas(section: Section, amplitude_clip: float, folder: Path = Path()) -> tuple[Path, Path]:
    """Write `inline_339.png` and `inline_339.legend`, by the line's name, into `folder`.

    Painted on with the legend's colours, the picture is read as picks; every grey is background.

    Raises OutputError: one of the two is there already, and may be somebody's work; or the folder takes no more.
    """
    picture = folder / f"{section.kind}_{section.number}{PAINTING_SUFFIX}"
    legend = picture.with_suffix(LEGEND_SUFFIX)
    for path in (picture, legend):
        if path.exists():
            raise OutputError(f"{path} is there already, and stays as it is: move it away, or work in another folder.")
    with writing(picture) as temporary:  # in colours, though grey: programs let nobody paint red on a picture in greys
        imsave(temporary, section.amplitude.T, vmin=-amplitude_clip, vmax=amplitude_clip, cmap="gray", format="png")
    write_text(legend, "\n".join(_legend()) + "\n")
    return picture, legend


def _legend() -> list[str]:
    greys = [f"#{grey:02x}{grey:02x}{grey:02x} {BACKGROUND}" for grey in range(256)]
    return [*(f"{colour} {name}" for name, colour in FACIES.items()), "# the section", *greys]
