"""Options that several commands take, and how commands speak."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

Cube = Annotated[
    Path, typer.Argument(metavar="CUBE", help="The survey's SEG-Y file.", show_default=False, readable=False)
]
InlineByte = Annotated[
    int | None, typer.Option(metavar="BYTE", help="Where trace headers hold the inline, if not in byte 189.")
]
CrosslineByte = Annotated[
    int | None, typer.Option(metavar="BYTE", help="Where trace headers hold the crossline, if not in byte 193.")
]
Inline = Annotated[int | None, typer.Option(metavar="N", help="Classify the inline with this number.")]
Crossline = Annotated[int | None, typer.Option(metavar="N", help="Classify the crossline with this number.")]
Twt = Annotated[
    float | None, typer.Option(metavar="T", help="Classify the time slice at this two-way time, ms, of all traces.")
]
ModelName = Annotated[str, typer.Option(metavar="NAME|PATH", help="A model by name (`infer models`) or an .onnx file.")]
Outputs = Annotated[
    list[Path] | None,
    typer.Option(
        "--out",
        metavar="FILE",
        help="Where to; may be given several times. The suffix decides: .png, .npz, .npy, .sgy (facies as 8-bit "
        "integers), .confidence.sgy (float32); of a time slice .png and .npz. [default: a .png in this folder]",
    ),
]
DeviceName = Annotated[str, typer.Option(metavar="auto|cpu|cuda|cuda:N", help="What to compute on.")]
EngineName = Annotated[
    str,
    typer.Option(
        metavar="auto|slice|patch", help="What runs: the slice model or a patch a sample; auto: the quicker one."
    ),
]
Stride = Annotated[
    int,
    typer.Option(
        metavar="K", help="Classify every K-th trace and sample, interpolate between; with patches K² times faster."
    ),
]
Clip = Annotated[
    float | None,
    typer.Option(metavar="A", help="The amplitude that scales to 1. [default: the survey's 99th percentile]"),
]
BatchSize = Annotated[int | None, typer.Option(metavar="B", help="Patches a batch. [default: fits the device]")]
OfferedModels = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="NAME|PATH",
        help="A model by name or an .onnx file; may be given several times. Its slice model comes with it, as "
        "NAME_slice. [default: waldeland]",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Nothing on the screen but warnings and errors.")]


def warn_of_another_time(asked_ms: float, nearest_ms: float) -> None:
    """Say that there is no sample at the time asked for."""
    if abs(asked_ms - nearest_ms) > 1e-3:
        warn(f"There is no sample at {asked_ms:g} ms: this is the nearest, at {nearest_ms:g} ms.")


def warn(*sentences: str) -> None:
    """To the screen, beside what the command is about."""
    for sentence in sentences:
        print(f"Warning: {sentence}", file=sys.stderr)


def silence(_sentence: str) -> None:
    """In the place of `print`, with --quiet."""
