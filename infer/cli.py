"""The `infer` commands: parse, call, report. Nothing else happens here."""

from __future__ import annotations

import io
import json
import signal
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from infer.cube_cli import cube
from infer.errors import Cancelled, InferError, LineNotFoundError, OptionError
from infer.host_cli import app as host_app
from infer.options import (
    BatchSize,
    Clip,
    Crossline,
    CrosslineByte,
    Cube,
    DeviceName,
    EngineName,
    Inline,
    InlineByte,
    ModelName,
    Outputs,
    Quiet,
    Stride,
    Twt,
    silence,
    warn,
    warn_of_another_time,
)
from infer.serve_cli import serve
from infer.view_cli import view

if TYPE_CHECKING:
    import rich.progress

    from infer.card import ModelCard
    from infer.section import LineKind

_STOPPED = "Stopped; nothing half-written is left."

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _say_version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        print(metadata.version("facies-edge"))
        raise typer.Exit


@app.callback()
def infer(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    """Seismic facies for lines, times and the whole of a SEG-Y survey."""


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where to write it.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Another seed, another geology.")] = 2018,
) -> None:
    """Write a synthetic survey (demo.sgy), its true facies and picks on one inline."""
    from infer.demo import write_demo

    files = write_demo(folder, seed)
    print(f"Wrote {files.survey}, its true facies {files.facies} and the picks {files.picks}")
    print(f"Next: infer slice {files.survey} --crossline 500 --model demo")


@app.command("slice")
def slice_(
    cube: Cube,
    crossline: Crossline = None,
    inline: Inline = None,
    twt: Twt = None,
    model: ModelName = "waldeland",
    out: Outputs = None,
    device: DeviceName = "auto",
    engine: EngineName = "auto",
    stride: Stride = 1,
    clip: Clip = None,
    batch_size: BatchSize = None,
    inline_byte: InlineByte = None,
    crossline_byte: CrosslineByte = None,
    quiet: Quiet = False,
) -> None:
    """Classify every sample of one line, or one sample of every trace, and write the facies."""
    if twt is not None:
        if (inline, crossline, stride, batch_size) != (None, None, 1, None):
            raise OptionError(
                "A time slice is of all traces: --twt goes without --inline, --crossline, --stride and --batch-size."
            )
        _time_slice(cube, twt, model, out, device, engine, clip, inline_byte, crossline_byte, quiet)
        return
    if inline is None and crossline is None:
        raise OptionError("Say what to classify: one of --crossline N, --inline N and --twt T.")
    kind, number = one_line(inline, crossline)
    outputs = out or [Path(f"{cube.stem}_{kind}_{number}.png")]

    from infer import classify, load_model, open_survey, write
    from infer.classification import check_options
    from infer.writers import check_outputs, check_surveys_kept

    check_options(stride, batch_size, clip)
    check_outputs(outputs, cube)
    check_surveys_kept(outputs)
    survey = open_survey(cube, inline_byte=inline_byte, crossline_byte=crossline_byte)
    section = survey.read_line(kind, number)
    if not section.live.any():
        raise LineNotFoundError(f"{kind.capitalize()} {number} of {cube.name} has no live trace to classify.")
    loaded = load_model(model, device, engine, stride=stride)
    warn(*survey.warnings, *section.warnings)
    say = silence if quiet else print
    if loaded.device_reason:
        say(f"On the CPU, since {loaded.device_reason}")
    if loaded.no_slice_reason:
        say(f"By patches, since {loaded.no_slice_reason}")

    started = time.perf_counter()
    with _Progress(f"{kind} {number}", quiet) as progress:
        result = classify(
            section,
            loaded,
            survey.amplitude_clip if clip is None else clip,
            stride=stride,
            batch_size=batch_size,
            progress=progress,
        )
    seconds = time.perf_counter() - started
    for path in outputs:
        write(result, path, survey)
        say(f"Wrote {path}")
    say(
        f"{loaded.card.name} on {loaded.device}, {loaded.engine(stride)} engine: "
        f"{progress.total:,} samples classified in {seconds:.1f} s, "
        f"{progress.total / max(seconds, 1e-9):,.0f} samples/s"
    )


def _time_slice(
    cube: Path,
    twt: float,
    model: str,
    out: list[Path] | None,
    device: str,
    engine: str,
    clip: float | None,
    inline_byte: int | None,
    crossline_byte: int | None,
    quiet: bool,
) -> None:
    """`infer slice --twt`."""
    from infer.classification import check_options
    from infer.cube_plan import CubeRequest, Plan
    from infer.region import Region
    from infer.time_slice import check_time_slice_outputs, classify_time_slice, write_time_slice
    from infer.writers import check_outputs

    outputs = out or [Path(f"{cube.stem}_twt_{twt:g}.png")]
    check_options(1, None, clip)
    check_time_slice_outputs(outputs)
    check_outputs(outputs, cube)
    request = CubeRequest(
        cube,
        cube,
        model,
        region=Region(twt=(twt, twt)),
        confidence=True,
        clip=clip,
        device=device,
        engine=engine,
        inline_byte=inline_byte,
        crossline_byte=crossline_byte,
    )
    plan = Plan(request)
    warn(*plan.survey.warnings, *plan.sparse())
    warn_of_another_time(twt, float(plan.survey.twt_ms[plan.box.samples.start]))
    say = silence if quiet else print
    if plan.model.device_reason:
        say(f"On the CPU, since {plan.model.device_reason}")
    started = time.perf_counter()
    with _Progress(f"{twt:g} ms", quiet) as progress:
        result = classify_time_slice(plan, progress)
    seconds = time.perf_counter() - started
    warn(*plan.odd_samples())
    samples = int((result.facies >= 0).sum())
    if not samples:
        raise LineNotFoundError(f"{cube.name} has no live trace to classify.")
    for path in outputs:
        write_time_slice(result, path, cube.name)
        say(f"Wrote {path}")
    say(
        f"{plan.model.card.name} on {plan.model.device}, {plan.engine} engine: {samples:,} samples classified in "
        f"{seconds:.1f} s, {samples / max(seconds, 1e-9):,.0f} samples/s"
    )


app.command()(cube)
app.command()(view)
app.command()(serve)
app.add_typer(host_app, name="host")


@app.command()
def scan(
    cube: Cube,
    as_json: Annotated[bool, typer.Option("--json", help="The same as JSON.")] = False,
    inline_byte: InlineByte = None,
    crossline_byte: CrosslineByte = None,
) -> None:
    """Say what a SEG-Y file is: lines, samples, format, holes, amplitudes, what is odd, and what to type next."""
    from infer.scan import describe
    from infer.scan import scan as scan_survey
    from infer.survey import open_survey

    report = scan_survey(open_survey(cube, inline_byte=inline_byte, crossline_byte=crossline_byte))
    print(json.dumps(report.to_dict(), indent=2) if as_json else describe(report))


@app.command()
def models() -> None:
    """List the models that are found by name."""
    from infer.models import list_models, model_folders, name_of
    from infer.sessions import SLICE_SUFFIX

    for found in list_models():
        size = f"{found.path.stat().st_size / 1e6:.1f} MB" if found.path.exists() else "not there"
        if found.card is None:
            print(f"{name_of(found.path)} ({size}): {found.reason}")
            continue
        card = found.card
        print(
            f"{name_of(found.path)} ({size}): {card.network}, patches of {card.patch_size} x {card.patch_size} samples"
        )
        print(f"  facies    {', '.join(card.facies_names)}")
        lines = ", ".join(card.training_lines) or "unknown lines"
        print(f"  trained   on {lines} of {card.survey or 'an unknown survey'}")
        print(f"  precision {_precision(card)}")
        print(f"  scores    {_scores(card)}")
        print(f"  file      {found.path}")
        if found.slice_model:
            print(f"  slice     {found.slice_model.reason or found.slice_model.path}")
        if found.path.name.endswith(SLICE_SUFFIX):
            print("  slice     it is one, and is here without its patch model")
    print(f"Looked in {', '.join(map(str, model_folders())) or 'no folder: there is no exported/ here'}")


@app.command()
def card(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model by name, or an .onnx file.")],
    new_card: Annotated[Path | None, typer.Argument(metavar="[CARD.json]", help="A card to put into it.")] = None,
) -> None:
    """Print the card of a model as JSON, or give it a new one."""
    from infer.card import ModelCard, read_card, write_card
    from infer.errors import ModelError
    from infer.models import find_model

    path = find_model(model)
    if new_card is None:
        print(json.dumps(json.loads(read_card(path).to_json()), indent=2, ensure_ascii=False))
        return
    try:
        text = new_card.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ModelError(f"{new_card} cannot be read as a model card: {reason}.") from error
    write_card(path, ModelCard.from_json(text))
    print(f"{path} has the card of {new_card}")


@app.command()
def doctor() -> None:
    """Show versions, what can run a model here and what cannot (with the reason), threads and model folders."""
    from infer.doctor import examine

    print(examine())


def main() -> None:
    """Run an `infer` command."""
    try:
        run(app)
    except MemoryError:
        _give_up("There is not enough memory for this. `--engine patch` with a small --batch-size takes the least.", 2)


def run(commands: typer.Typer) -> None:
    """Run a command; a sentence and exit status 2 where something is wrong with what it was given, 130 for Ctrl-C.

    A request to end (SIGTERM, as a cluster's scheduler sends it) is heeded as Ctrl-C is, with exit status 143.
    """
    for stream in (sys.stdout, sys.stderr):  # a console without some letter shows a ? and goes on
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    stopped = 130

    def end(number: int, _: object) -> None:
        nonlocal stopped
        stopped = 128 + number
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        commands()
    except Cancelled as stop:
        _give_up(str(stop), stopped)
    except InferError as error:
        _give_up(str(error), 2)
    except KeyboardInterrupt:
        _give_up(_STOPPED, stopped)
    except SystemExit as ended:
        if ended.code == 130:  # typer turns Ctrl-C into this, without a word
            _give_up(_STOPPED, stopped)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def one_line(inline: int | None, crossline: int | None) -> tuple[LineKind, int]:
    """The line that was asked for.

    Raises OptionError: none was, or two.
    """
    if inline is not None and crossline is None:
        return "inline", inline
    if crossline is not None and inline is None:
        return "crossline", crossline
    raise OptionError("Say which line: either --crossline N or --inline N.")


def _precision(card: ModelCard) -> str:
    """What the weights are stored in and, if that changes facies, how many stayed those of the trained network."""
    agreement = card.scores.get("agreement")
    if card.precision == "fp32" or agreement is None:
        return card.precision
    return f"{card.precision}, with the facies of the trained network on {agreement:.2%} of patches"


def _scores(card: ModelCard) -> str:
    """Accuracies by the part of the picks that they were measured on, and how the picks were split.

    In reduced precision the test accuracy is what the file itself gives, then what the trained network gives.
    """
    parts = ("test", "validation", "train")
    known = {part: f"{card.scores[f'{part}_accuracy']:.2%}" for part in parts if f"{part}_accuracy" in card.scores}
    if "exported_test_accuracy" in card.scores:
        trained = card.scores.get("keras_test_accuracy")
        picks = card.scores.get("exported_test_picks")
        of = f", both on {picks:,.0f} of the picks" if picks is not None else ""
        before = f" ({trained:.2%} before {card.precision}{of})" if trained is not None else ""
        known = {**known, "test": f"{card.scores['exported_test_accuracy']:.2%}{before}"}
    split = f" (accuracy, {card.split['method']} split of the picks)" if "method" in card.split else ""
    return ", ".join(f"{part} {accuracy}" for part, accuracy in known.items()) + split if known else "none given"


def _give_up(sentence: str, status: int) -> NoReturn:
    print(sentence, file=sys.stderr)
    sys.exit(status)


class _Progress(AbstractContextManager["_Progress"]):
    """How many samples there are to classify, and on a terminal a bar with samples/s and time left."""

    def __init__(self, line: str, quiet: bool) -> None:
        self.total = 0
        self._bar = None if quiet or not sys.stderr.isatty() else _bar(line)
        self._task = self._bar.add_task(line) if self._bar else None

    def __call__(self, done: int, total: int) -> None:
        self.total = total
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=done, total=total)

    def __enter__(self) -> _Progress:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()


def _bar(line: str) -> rich.progress.Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:,.0f} samples/s" if task.speed else "")

    columns = TextColumn(line), BarColumn(), TextColumn("{task.percentage:3.0f} %"), Rate(), TimeRemainingColumn()
    return Progress(*columns, console=Console(stderr=True), transient=True)
