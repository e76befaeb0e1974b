"""The `infer serve` command: parse, call, report."""

from __future__ import annotations

from typing import Annotated

import typer

from infer.options import DeviceName, OfferedModels, warn

Token = Annotated[
    str | None,
    typer.Option(
        metavar="TOKEN",
        envvar="INFER_TOKEN",
        help="What clients must send as `Authorization: Bearer TOKEN`. Every user of this machine can read a command "
        "line; an environment variable they cannot.",
        show_default=False,
    ),
]
MaxRequest = Annotated[float, typer.Option(metavar="MB", help="The largest request.")]
Concurrency = Annotated[
    int, typer.Option(metavar="N", help="Requests worked on at a time; four times as many may wait.")
]


def serve(
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", help="At which port; 0 is any free one.", min=0, max=65_535)] = 8017,
    model: OfferedModels = None,
    device: DeviceName = "auto",
    token: Token = None,
    max_request_mb: MaxRequest = 64,
    concurrency: Concurrency = 2,
) -> None:
    """Offer models to other programs over HTTP, by the Open Inference Protocol v2."""
    from infer.hosts import service
    from infer.hosts.offered import offer
    from infer.models import DEFAULT_MODEL

    offered = offer(model or [DEFAULT_MODEL], device)
    service_app = service.create_app(offered, token=token, max_request_mb=max_request_mb, concurrency=concurrency)
    with service.listen(host, port) as listening:
        if token is None and not service.is_loopback(host):
            warn(f"Whoever can reach {host} can use this service: --token TOKEN asks them for one.")
        warn(*(f"No slice model of {one.name}: {one.no_slice_reason}" for one in offered if one.no_slice_reason))
        names = ", ".join(one.name for one in offered)
        address, number = listening.getsockname()[:2]
        address = f"[{address}]" if ":" in address else address
        print(f"{names} on {offered[0].model.device}, at http://{address}:{number}/v2; Ctrl-C ends it.", flush=True)
        service.serve(service_app, listening)
