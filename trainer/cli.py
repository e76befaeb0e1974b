"""The `trainer` commands: parse, call, report. Nothing else happens here."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from infer.cli import one_line
from infer.cli import run as run_commands
from infer.errors import DependencyError, OptionError
from infer.options import CrosslineByte, InlineByte
from trainer.names import PATCH_SIZES, quoted

app = typer.Typer(
    help="Train patch classifiers on one labelled line and export them for `infer`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

NetworkName = Annotated[
    str, typer.Argument(metavar="NETWORK", help="waldeland, vgg16, resnet50 or vgg16-context", show_default=False)
]
Survey = Annotated[Path, typer.Option(metavar="CUBE", help="The survey's SEG-Y file.", show_default=False)]
FitSurvey = Annotated[
    Path | None, typer.Option("--survey", metavar="CUBE", help="The survey's SEG-Y file.", show_default=False)
]
FitPicks = Annotated[
    list[Path] | None,
    typer.Option(
        "--picks",
        metavar="FILE",
        help="Picks on one line: an .ixz file, .pts files, a painted inline_339.png, or a folder. May be repeated.",
        show_default=False,
    ),
]
PickSources = Annotated[
    list[Path],
    typer.Argument(
        metavar="PICKS",
        help="Picks on one line: an .ixz file, a .pts file per facies, a painted inline_339.png, or a folder of them.",
        show_default=False,
    ),
]
Legend = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="What a painted picture's colours are, in rows: #rrggbb facies. [default: the .legend beside it]",
    ),
]
PaintedSurvey = Annotated[Path, typer.Argument(metavar="CUBE", help="The survey's SEG-Y file.", show_default=False)]
Inline = Annotated[int | None, typer.Option(metavar="N", help="The inline with this number.")]
Crossline = Annotated[int | None, typer.Option(metavar="N", help="The crossline with this number.")]
PicksPicture = Annotated[
    Path | None, typer.Option("--out", metavar="PICTURE.png", help="[default: picks_LINE.png in this folder]")
]
SplitName = Annotated[
    str | None,
    typer.Option(
        "--split",
        metavar="NAME",
        help="blocked: test on blocks of traces of their own; random: on any quarter of picks. [default: blocked]",
        show_default=False,
    ),
]
RecipeName = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="NAME",
        help="default; paper: that of the paper; quick, of vgg16-context: only its head, in seconds. "
        "[default: default]",
        show_default=False,
    ),
]
Epochs = Annotated[int | None, typer.Option(metavar="N", help="At most. [default: the recipe's]", show_default=False)]
PatchSize = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="P",
        help="Traces and samples on a side of a patch. [default: 64; 244 for vgg16-context]",
        show_default=False,
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="What to start from: imagenet, random, or a Keras .h5 file without the top. [default: imagenet, "
        "for the networks that have it]",
        show_default=False,
    ),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the run in --run, or with the newest that did not finish.")
]
Seed = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=2**32 - 1,
        metavar="N",
        help="Of the split, the weights and the order of patches. [default: 2018]",
        show_default=False,
    ),
]
NewRun = Annotated[
    Path | None, typer.Option("--run", metavar="DIR", help="The run folder. [default: runs/NETWORK-DATE-TIME]")
]
ModelName = Annotated[str | None, typer.Option(metavar="NAME", help="The model's name. [default: the network's]")]
SurveyName = Annotated[str | None, typer.Option(metavar="NAME", help="The survey's name. [default: the file's]")]
Licence = Annotated[str | None, typer.Option(metavar="TEXT", help="The licence of the training data, for the card.")]
Polarity = Annotated[
    str | None,
    typer.Option(metavar="TEXT", help="The survey's polarity, for the card. [default: as in the survey]"),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Nothing on the screen but errors.")]
OldRun = Annotated[
    Path | None, typer.Option("--run", metavar="DIR", help="A run folder. [default: the network's newest under runs/]")
]
OutFolder = Annotated[Path, typer.Option("--out", metavar="DIR", help="Where NAME.onnx goes.")]
ExportName = Annotated[str, typer.Option(metavar="NAME", help="The model's name. [default: as fitted]")]
Precision = Annotated[
    str, typer.Option(metavar="fp32|fp16|int8", help="fp16 is for GPUs, int8 for CPUs; both are measured.")
]
Replace = Annotated[bool, typer.Option("--replace", help="Also where another model has that name.")]
MovedSurvey = Annotated[
    Path | None, typer.Option("--survey", metavar="CUBE", help="The training survey, if it has moved since.")
]
MovedInlineByte = Annotated[
    int | None,
    typer.Option("--inline-byte", metavar="BYTE", help="Where its headers hold the inline. [default: as fitted]"),
]
MovedCrosslineByte = Annotated[
    int | None,
    typer.Option("--crossline-byte", metavar="BYTE", help="Where its headers hold the crossline. [default: as fitted]"),
]
PatchModel = Annotated[
    str, typer.Argument(metavar="MODEL", help="A patch model with a card, by name or path.", show_default=False)
]
ProofSurvey = Annotated[
    Path | None, typer.Option(metavar="CUBE", help="Prove it on a line of this survey. [default: of the demo survey]")
]
RunFolders = Annotated[
    list[Path],
    typer.Argument(metavar="RUN", help="A run folder, such as runs/waldeland-20260102-120000.", show_default=False),
]
Scored = Annotated[
    int | None,
    typer.Option(
        "--patches",
        min=1,
        metavar="N",
        help="Picks of each part, at most; nothing is written then. [default: the recipe's]",
        show_default=False,
    ),
]

_Value = TypeVar("_Value")

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h

_NEEDED = ("tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "matplotlib", "rich")


@app.command()
def fit(
    network: NetworkName,
    survey: FitSurvey = None,
    picks: FitPicks = None,
    legend: Legend = None,
    split: SplitName = None,
    recipe: RecipeName = None,
    epochs: Epochs = None,
    patch_size: PatchSize = None,
    weights: Weights = None,
    seed: Seed = None,
    run: NewRun = None,
    resume: Resume = False,
    name: ModelName = None,
    survey_name: SurveyName = None,
    licence: Licence = None,
    polarity: Polarity = None,
    inline_byte: InlineByte = None,
    crossline_byte: CrosslineByte = None,
    quiet: Quiet = False,
) -> None:
    """Train a network on the picks of one line."""
    _check_installed()
    from trainer.request import FitRequest, prepare
    from trainer.runs import check_vacant, find_unfinished_run, new_run, prepare_again
    from trainer.shelf import export_command

    say = _silence if quiet else _say
    unfinished = None
    wishes: dict[str, Any] = {
        "legend": legend,
        "split": split,
        "recipe": recipe,
        "epochs": epochs,
        "patch_size": patch_size,
        "weights": weights,
        "seed": seed,
        "name": name,
        "survey_name": survey_name,
        "licence": licence,
        "polarity": polarity,
    }
    wishes = {option: value for option, value in wishes.items() if value is not None}
    # What can be refused is refused before the seconds that TensorFlow takes to start.
    if resume:
        if picks or wishes:
            raise OptionError("A run goes on as it was asked for: beside --resume, give --run and --survey at most.")
        unfinished = find_unfinished_run(network, run)
        say(f"Going on with {unfinished.folder} after epoch {unfinished.epochs_done()}.")
        prepared = prepare_again(unfinished, survey, say, (inline_byte, crossline_byte))
    else:
        check_vacant(run)
        request = FitRequest(network, _given("--survey", survey), tuple(_given("--picks", picks)), **wishes)
        request = request.moved(None, (inline_byte, crossline_byte))
        prepared = prepare(request, say)
    _start_tensorflow()
    from trainer.fit import fit as fit_network

    done = fit_network(prepared, unfinished or new_run(network, run), say, live=not quiet)
    say(f"The run is in {done.folder}. To export it: `{export_command(network, done.folder, prepared.request.name)}`")


@app.command()
def networks(patch_size: PatchSize = None) -> None:
    """List the networks: input, parameters, how many of them are trained, and how."""
    _check_installed()
    _start_tensorflow()
    from trainer.networks import NETWORKS
    from trainer.recipes import RECIPES

    for name, network in NETWORKS.items():
        size = patch_size or PATCH_SIZES[name]
        try:
            model = network.built(size)
        except OptionError as no_such_size:
            print(no_such_size)
            continue
        trainable = sum(weights.numpy().size for weights in model.trainable_weights)
        print(f"{name}: patches of {size} x {size} samples, {network.summary}")
        print(f"  parameters  {model.count_params():,}, of which {trainable:,} are trained")
        for recipe_name, recipe in RECIPES[name].items():
            print(f"  {recipe_name:<11} {recipe.describe()}")


@app.command()
def export(
    network: NetworkName,
    run: OldRun = None,
    out: OutFolder = Path("exported"),
    name: ExportName = "",
    precision: Precision = "fp32",
    survey: MovedSurvey = None,
    inline_byte: MovedInlineByte = None,
    crossline_byte: MovedCrosslineByte = None,
    replace: Replace = False,
) -> None:
    """Turn a run into an .onnx file, after proving that it gives what the network gives."""
    import dataclasses

    from trainer.names import check_precision
    from trainer.runs import find_run
    from trainer.shelf import place_for

    check_precision(precision)
    card = find_run(network, run).read_card()  # before the seconds that TensorFlow takes to start
    place_for(dataclasses.replace(card, name=name or card.name, precision=precision), out, replace=replace)
    _check_installed()
    _start_tensorflow()
    from trainer.export import export as export_network
    from trainer.export import training_section

    with _quiet_stderr():
        done = export_network(
            network,
            run,
            out,
            name,
            survey,
            header_bytes=(inline_byte, crossline_byte),
            precision=precision,
            replace_other=replace,
        )
    print(done.report())
    from trainer.slice_export import export_slice
    from trainer.slicegraph import SliceError

    try:
        section = training_section(done.run, survey, (inline_byte, crossline_byte))
        print(export_slice(done.path, section).report())
    except SliceError as reason:
        print(f"No slice model: {reason}")


@app.command("slice")
def slice_(
    model: PatchModel,
    survey: ProofSurvey = None,
    inline: Inline = None,
    crossline: Crossline = None,
    inline_byte: InlineByte = None,
    crossline_byte: CrosslineByte = None,
) -> None:
    """Compile a patch model into a slice model: a whole section in one graph, many times as fast."""
    _check_installed(["onnx", "onnxruntime"])
    from infer.models import find_model
    from trainer.slice_export import export_slice

    section = None
    if survey is None and (inline, crossline) != (None, None):
        raise OptionError("A line to prove it on is one of a survey: give that with --survey.")
    if survey:
        from infer.survey import open_survey

        opened = open_survey(survey, inline_byte=inline_byte, crossline_byte=crossline_byte)
        section = opened.read_line(*one_line(inline, crossline))
    print(export_slice(find_model(model), section).report())


@app.command()
def evaluate(
    runs: RunFolders,
    survey: MovedSurvey = None,
    inline_byte: MovedInlineByte = None,
    crossline_byte: MovedCrosslineByte = None,
    patches: Scored = None,
) -> None:
    """Score runs on their own training, validation and test picks; several are set side by side."""
    _check_installed()
    from trainer.trained import find_trained

    # Before the seconds that TensorFlow takes to start.
    found = find_trained(runs, survey, _say, (inline_byte, crossline_byte))
    _start_tensorflow()
    from trainer.evaluate import evaluate as evaluate_run
    from trainer.evaluate import written
    from trainer.scores_tables import report

    scores = []
    for trained in found:
        _say(f"Scoring {trained.title}.")
        scores.append(evaluate_run(trained, patches))
    print(report(found, scores))
    if patches:
        print("Wrote nothing: with --patches, the scores in a run folder stay as they are.")
        return
    for trained in found:
        print(f"Wrote {', '.join(str(path) for path in written(trained))}")


@app.command("picks")
def picks_(
    picks: PickSources,
    survey: Survey,
    legend: Legend = None,
    out: PicksPicture = None,
    inline_byte: InlineByte = None,
    crossline_byte: CrosslineByte = None,
) -> None:
    """Count the picks of one line, say what is wrong with them, and draw them on their section."""
    _check_installed(["matplotlib"])
    from infer.survey import open_survey
    from trainer.pick_sources import pick_files
    from trainer.picks import read_line_picks
    from trainer.picks_picture import check_picture, draw_picks

    files = pick_files(picks)
    if out:
        check_picture(out, survey, files)
    opened = open_survey(survey, inline_byte=inline_byte, crossline_byte=crossline_byte)
    section, placed = read_line_picks(files, opened, legend)
    picture = out or Path(f"picks_{section.kind}_{section.number}.png")
    check_picture(picture, survey, files)
    print(f"{placed.report()}.\n\n{placed.table()}\n")
    for sentence in (*opened.warnings, *section.warnings, *placed.warnings):
        print(f"Warning: {sentence}", file=sys.stderr)
    draw_picks(picture, section, placed, opened.amplitude_clip, survey.stem)
    print(f"Wrote {picture}")


@app.command()
def canvas(
    survey: PaintedSurvey,
    inline: Inline = None,
    crossline: Crossline = None,
    inline_byte: InlineByte = None,
    crossline_byte: CrosslineByte = None,
) -> None:
    """Draw a line in grey to paint picks on, a pixel a sample, and write down the colours to paint with."""
    _check_installed(["matplotlib"])
    from infer.survey import open_survey
    from trainer.canvas import write_canvas

    line = one_line(inline, crossline)
    opened = open_survey(survey, inline_byte=inline_byte, crossline_byte=crossline_byte)
    section = opened.read_line(*line)
    for sentence in (*opened.warnings, *section.warnings):
        print(f"Warning: {sentence}", file=sys.stderr)
    picture, legend = write_canvas(section, opened.amplitude_clip)
    print(f"Wrote {picture} to paint on, with a hard brush in the colours of {legend}")
    given = (("inline", inline_byte), ("crossline", crossline_byte))
    places = "".join(f" --{kind}-byte {byte}" for kind, byte in given if byte is not None)
    print(f"Next: trainer picks {quoted(picture)} --survey {quoted(survey)}{places}")


def main() -> None:
    """Run a `trainer` command."""
    run_commands(app)


def _given(option: str, value: _Value | None) -> _Value:
    """The value of an option that only `--resume` can do without."""
    if value is None:
        raise OptionError(f"A new training needs {option}. `trainer fit --help` has the options.")
    return value


def _say(text: str) -> None:
    print(text, flush=True)


def _silence(text: str) -> None:
    """Say nothing."""


def _check_installed(needed: Iterable[str] = _NEEDED) -> None:
    """Raise DependencyError where the extra is not installed."""
    missing = [module for module in needed if find_spec(module) is None]
    if missing:
        raise DependencyError(
            f'Training needs {", ".join(missing)}, which is not installed: pip install "facies-edge[trainer,cpu]"'
        )


def _start_tensorflow() -> None:
    """Import TensorFlow without its chatter, and at its best on a CPU."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # by itself only on processors with AVX-512
    _keep_memory()
    with _quiet_stderr():
        import keras  # noqa: F401
        import tensorflow  # noqa: F401


def _keep_memory() -> None:
    """Have glibc keep what is freed: every step takes as much again, and fresh pages cost as long as the arithmetic."""
    with suppress(AttributeError, OSError, TypeError):  # another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 2**30)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


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
