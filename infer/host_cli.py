"""The `infer host` commands: what other programs need in order to run a model themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from infer.options import OfferedModels

app = typer.Typer(help="Write what a host program needs to run a model.", no_args_is_help=True)


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
