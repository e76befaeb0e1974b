"""The `infer host` commands: what other programs need in order to run a model themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from infer.options import DeviceName, ModelName, OfferedModels

app = typer.Typer(help="Write what a host program needs to run a model.", no_args_is_help=True)

Along = Annotated[str, typer.Option(metavar="inline|crossline", help="The lines whose sections are classified.")]


@app.command("opendtect-zip")
def opendtect_zip(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A model by name, or an .onnx file.", show_default=False)
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT.zip", help="Where to write it.", show_default=False)],
    along: Annotated[
        str, typer.Option(metavar="inline|crossline", help="Which way the section lies that patches are cut from.")
    ] = "inline",
    clip: Annotated[
        float | None,
        typer.Option(metavar="A", help="The amplitude that scales to 1. [default: the training survey's]"),
    ] = None,
    standardised: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="MEAN DEVIATION", help="Undo OpendTect's global standardisation by these two."),
    ] = None,
) -> None:
    """Write a ZipModel for OpendTect's machine learning plugin."""
    from infer.hosts.opendtect_zip import write_zipmodel

    scaled_by = write_zipmodel(model, out, along=along, amplitude_clip=clip, standardised=standardised)
    print(f"Wrote {out}, in which amplitudes of ±{scaled_by:g} scale to ±1")


@app.command("opendtect-attribute")
def opendtect_attribute(
    out: Annotated[Path, typer.Argument(metavar="OUT.py", show_default=False)],
    model: ModelName = "waldeland",
    along: Along = "inline",
    device: DeviceName = "auto",
) -> None:
    """Write a script for OpendTect's External Attribute plugin."""
    from infer.hosts.opendtect_attribute import write_attribute

    write_attribute(out, model, along, device)  # type: ignore[arg-type] # it refuses what is neither
    print(f"Wrote {out}")


@app.command()
def triton(
    folder: Annotated[Path, typer.Argument(metavar="OUT_DIR", help="A new folder.", show_default=False)],
    model: OfferedModels = None,
) -> None:
    """Write a model repository for Triton Inference Server."""
    from infer.hosts.offered import offer
    from infer.hosts.triton import write_repository
    from infer.models import DEFAULT_MODEL

    offered = offer(model or [DEFAULT_MODEL], "cpu")
    write_repository(folder, offered)
    print(f"Wrote {', '.join(one.name for one in offered)} to {folder}")
    for one in offered:
        if one.no_slice_reason:
            print(f"No slice model of {one.name}: {one.no_slice_reason}")
