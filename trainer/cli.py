"""The `trainer` commands: parse, call, report. Nothing else happens here."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from infer.cli import run as run_commands
from infer.errors import DependencyError

app = typer.Typer(
    help="Train patch classifiers on one labelled line and export them for `infer`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

NetworkName = Annotated[str, typer.Argument(metavar="NETWORK", help="waldeland", show_default=False)]
Survey = Annotated[Path, typer.Option(metavar="CUBE", help="The survey's SEG-Y file.", show_default=False)]
Picks = Annotated[
    Path,
    typer.Option(
        metavar="FILE", help="Picks on one line, in rows: inline crossline twt_ms facies.", show_default=False
    ),
]
Epochs = Annotated[int, typer.Option(metavar="N", help="At most; training stops when validation stops improving.")]
Seed = Annotated[
    int, typer.Option(min=0, max=2**32 - 1, metavar="N", help="Of the split, the weights and the order of patches.")
]
NewRun = Annotated[
    Path | None, typer.Option("--run", metavar="DIR", help="The run folder. [default: runs/NETWORK-DATE-TIME]")
]
ModelName = Annotated[str, typer.Option(metavar="NAME", help="The model's name. [default: the network's]")]
SurveyName = Annotated[str, typer.Option(metavar="NAME", help="The survey's name. [default: the file's]")]
Licence = Annotated[str, typer.Option(metavar="TEXT", help="The licence of the training data, for the card.")]
Polarity = Annotated[str, typer.Option(metavar="TEXT", help="The survey's polarity, for the card.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Nothing on the screen but errors.")]
OldRun = Annotated[
    Path | None, typer.Option("--run", metavar="DIR", help="A run folder. [default: the network's newest under runs/]")
]
OutFolder = Annotated[Path, typer.Option("--out", metavar="DIR", help="Where NAME.onnx goes.")]
ExportName = Annotated[str, typer.Option(metavar="NAME", help="The model's name. [default: as fitted]")]
Replace = Annotated[bool, typer.Option("--replace", help="Also where another model has that name.")]
MovedSurvey = Annotated[
    Path | None, typer.Option("--survey", metavar="CUBE", help="The training survey, if it has moved since.")
]

_NEEDED = ("tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "matplotlib", "rich")


@app.command()
def fit(
    network: NetworkName,
    survey: Survey,
    picks: Picks,
    epochs: Epochs = 30,
    seed: Seed = 2018,
    run: NewRun = None,
    name: ModelName = "",
    survey_name: SurveyName = "",
    licence: Licence = "",
    polarity: Polarity = "as in the survey",
    quiet: Quiet = False,
) -> None:
    """Train a network on the picks of one line."""
    _check_installed()
    from trainer.request import FitRequest, prepare
    from trainer.shelf import export_command

    say = _silence if quiet else _say
    request = FitRequest(network, survey, picks, epochs, seed, run, name, survey_name, licence, polarity)
    prepared = prepare(request, say)  # before the seconds that TensorFlow takes to start
    _start_tensorflow()
    from trainer.fit import fit as fit_network

    done = fit_network(prepared, say, live=not quiet)
    say(f"The run is in {done.folder}. To export it: `{export_command(network, done.folder, name)}`")


@app.command()
def export(
    network: NetworkName,
    run: OldRun = None,
    out: OutFolder = Path("exported"),
    name: ExportName = "",
    survey: MovedSurvey = None,
    replace: Replace = False,
) -> None:
    """Turn a run into an .onnx file, after proving that it gives what the network gives."""
    import dataclasses

    from trainer.runs import find_run
    from trainer.shelf import place_for

    card = find_run(network, run).read_card()  # before the seconds that TensorFlow takes to start
    place_for(dataclasses.replace(card, name=name or card.name), out, replace=replace)
    _check_installed()
    _start_tensorflow()
    from trainer.export import export as export_network

    with _quiet_stderr():
        done = export_network(network, run, out, name, survey, replace_other=replace)
    print(
        f"Wrote {done.path} from {done.run.folder}: on {done.patches:,} patches its probabilities are within "
        f"{done.max_difference:.1e} of Keras', and all facies are the same."
    )


def main() -> None:
    """Run a `trainer` command."""
    run_commands(app)


def _say(text: str) -> None:
    print(text, flush=True)


def _silence(text: str) -> None:
    """Say nothing."""


def _check_installed() -> None:
    """Raise DependencyError where the extra is not installed."""
    missing = [module for module in _NEEDED if find_spec(module) is None]
    if missing:
        raise DependencyError(
            f'Training needs {", ".join(missing)}, which is not installed: pip install "facies-edge[trainer,cpu]"'
        )


def _start_tensorflow() -> None:
    """Import TensorFlow without its chatter."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _quiet_stderr():
        import keras  # noqa: F401
        import tensorflow  # noqa: F401


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Drop what is written to file descriptor 2, since TensorFlow's C++ writes there before it reads its settings."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
