"""A survey's blocks on many machines, by dask.distributed: every worker reads, computes and writes blocks of its own.

All machines see the survey and the output under the same paths, and have this version of the package installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import CancelledError
from functools import lru_cache
from pathlib import Path
from typing import Any

from distributed import Client, KilledWorker, as_completed
from distributed.client import FutureCancelledError
from distributed.comm import CommClosedError
from distributed.comm.addressing import parse_address, parse_host_port
from distributed.comm.registry import get_backend

from infer.cube import Advance, CubeRun, Report, Store, compute_block, count_samples, open_store, read_block, sentences
from infer.cube_plan import Block, CubeRequest, Plan
from infer.errors import DeviceError, OutputError

TIMEOUT_S = 10


def work_with_dask(run: CubeRun, address: str, report: Report | None = None) -> None:
    """Compute all that remains of a run on the workers of the scheduler at `address`, and give the files their names.

    report: called after every block. A block of a lost worker is done again by another. What is done is kept, whatever
    happens.

    Raises DeviceError: no scheduler there, no workers, or a block that every worker was lost with. OutputError: a
    worker sees another survey, model or output, or another run is at work on it. Otherwise what `CubeRun.work` raises.
    """
    with sentences(run.plan.request.out), run.journal.held(), run.forgotten_unless_begun():
        with _client(address) as client:
            _work(run, client, report)
        run.give_names()
    run.journal.remove()


def _work(run: CubeRun, client: Client, report: Report | None) -> None:
    """Have all that remains done, and note it."""
    remaining = run.remaining
    spec = run.plan.request, dict(run.partials), run.plan.describe()
    futures = client.map(_do_block, [block.number for block in remaining], spec=spec, pure=False)
    blocks = {future.key: block for future, block in zip(futures, remaining, strict=True)}
    done = Advance(run.plan.lines - sum(map(run.lines_of, remaining)), run.plan.lines, 0)
    try:
        for future in as_completed(futures, loop=client.loop):
            samples = future.result()
            block = blocks[future.key]
            run.journal.add(block.number)
            lines_done = done.lines_done + run.lines_of(block)
            done = Advance(lines_done, done.lines, done.samples + samples, _who_does_what(client, blocks))
            if report:
                report(done)
    except KilledWorker as error:
        raise DeviceError(f"A block was given up after several workers were lost with it: {error}") from error
    except (FutureCancelledError, CancelledError, CommClosedError) as error:
        raise DeviceError(f"The dask scheduler at {client.scheduler.addr} was lost: {error}.") from error
    finally:
        client.cancel(futures)


def _client(address: str) -> Client:
    """A client of the scheduler there. Raises DeviceError: there is none, or it has no workers."""
    try:
        _check_address(address)
        client = Client(address, timeout=TIMEOUT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise DeviceError(f"There is no dask scheduler at {address}: {error}.") from error
    if not client.scheduler_info()["workers"]:
        client.close()
        raise DeviceError(f"The dask scheduler at {address} has no workers. Start some: `dask worker {address}`.")
    return client


def _check_address(address: str) -> None:
    """Raise ValueError where an address is none: a Client that was never connected takes long to be closed."""
    scheme, place = parse_address(address)
    get_backend(scheme)
    if scheme in ("tcp", "tls"):
        parse_host_port(place)


def _do_block(number: int, spec: tuple[CubeRequest, dict[str, Path], dict[str, Any]]) -> int:
    """On a worker: one block, from the survey to the disk. How many samples were classified."""
    request, partials, described = spec
    plan, store = _at_hand(request, tuple(partials.items()))
    other = [name for name, value in plan.describe().items() if value != described[name]]
    if other:
        raise OutputError(
            f"A worker's {other[0]} is {plan.describe()[other[0]]}, and {described[other[0]]} is asked for: all "
            "machines need the same survey and model under the same paths, and the same version of this package."
        )
    block = plan.blocks[number]
    lines = read_block(plan, block)
    store.write(block, compute_block(plan, block, lines))
    return count_samples(plan, block, lines)


@lru_cache(maxsize=1)
def _at_hand(request: CubeRequest, partials: tuple[tuple[str, Path], ...]) -> tuple[Plan, Store]:
    """A worker's own survey and session, kept from block to block."""
    plan = Plan(request)
    return plan, open_store(plan, dict(partials))


def _who_does_what(client: Client, blocks: Mapping[str, Block]) -> str:
    """`block 5 on 127.0.0.1:4711, block 6 on 127.0.0.1:4712`."""
    at_work = [
        f"block {blocks[key].number} on {worker.rpartition('/')[2]}"
        for worker, keys in client.processing().items()
        for key in keys[:1]
        if key in blocks
    ]
    return ", ".join(at_work[:4]) + (f" and {len(at_work) - 4} more" if len(at_work) > 4 else "")
