"""Turns a run into an .onnx file by the patch model's contract, after proving it to be the network that was trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import onnx
import onnxruntime
import tf2onnx

from infer.card import ModelCard, write_card
from infer.errors import SurveyNotFoundError
from infer.files import writing
from infer.section import Section
from trainer.graph import OPSET, check_graph, to_onnx
from trainer.names import check_precision
from trainer.picks import PicksError
from trainer.precision import in_precision
from trainer.proof import Evidence, Proof, affordable_patches, prove
from trainer.request import HeaderBytes
from trainer.runs import Run, check_amplitudes, find_run, prepare_again
from trainer.saved import load_network
from trainer.shelf import EXPORTED, place_for


@dataclass(frozen=True)
class Export:
    """An exported model, and what its proof showed."""

    path: Path
    run: Run
    card: ModelCard
    proof: Proof

    def report(self) -> str:
        """Where the model is, how large, and how much of the network is in it."""
        size = self.path.stat().st_size / 1e6
        return f"Wrote {self.path} ({self.card.precision}, {size:.1f} MB) from {self.run.folder}.\n{self._agreement()}"

    def _agreement(self) -> str:
        line, test = self.proof.line, self.proof.test
        if test is None:
            accuracy = self.card.scores.get("test_accuracy")
            same = f", and so is the accuracy on test picks: {accuracy:.2%}" if accuracy is not None else ""
            return (
                f"On {line.patches:,} patches its probabilities are within {line.max_difference:.1e} of Keras'. "
                f"All facies are the same{same}."
            )
        return (
            f"Its facies are Keras' on {line.agreement:.2%} of {line.patches:,} patches over the line, and on "
            f"{test.agreement:.2%} of {test.patches:,} test picks; accuracy on these {test.accuracy:.2%}, in Keras "
            f"{test.keras_accuracy:.2%}."
        )


def export(
    network: str,
    run_folder: Path | None = None,
    out: Path = EXPORTED,
    name: str = "",
    survey: Path | None = None,
    *,
    header_bytes: HeaderBytes = (None, None),
    precision: str = "fp32",
    replace_other: bool = False,
) -> Export:
    """Write `out/<name>.onnx` from the newest run of `network`, or the one in `run_folder`.

    name: of the model and its file; the card's by default.
    survey: where the training survey is, if it has moved since; header_bytes: where its line numbers are then.
    precision: `fp32`, `fp16` or `int8`. The last two also take the picks that the network was trained on.
    replace_other: also where a model with other weights, or in another precision, has that name already.

    Raises RunError: no such run, or its picks have changed. OptionError: no such precision. SurveyNotFoundError: the
    survey has moved. PicksError: so have the picks. OutputError: it cannot be written there. ExportError: the proof
    failed; no file is left then.
    """
    check_precision(precision)
    run = find_run(network, run_folder)
    card = run.read_card()
    card = replace(card, name=name or card.name, precision=precision, libraries=card.libraries | _libraries())
    path = place_for(card, out, replace=replace_other)
    model = load_network(run)
    evidence = _evidence(run, card, survey, header_bytes, affordable_patches(model))
    onnx_model = in_precision(to_onnx(model), precision, evidence.calibration)
    check_graph(onnx_model)
    with writing(path) as temporary:
        onnx.save(onnx_model, temporary)
        proof = prove(temporary, model, evidence, precision)
        card = replace(card, scores=card.scores | proof.scores())
        write_card(temporary, card)
    return Export(path, run, card, proof)


def _evidence(run: Run, card: ModelCard, survey: Path | None, header_bytes: HeaderBytes, at_most: int) -> Evidence:
    if card.precision == "fp32":
        return Evidence.of_line(training_section(run, survey, header_bytes), card, at_most)
    try:
        return Evidence.of_picks(prepare_again(run, survey, header_bytes=header_bytes), card, at_most)
    except PicksError as error:
        raise PicksError(
            f"A model in {card.precision} is measured on the picks that the network was trained on, and they cannot "
            f"be read: {error} Put them back there, or export in fp32, which does without them."
        ) from error


def training_section(run: Run, survey: Path | None = None, header_bytes: HeaderBytes = (None, None)) -> Section:
    """The line that a network was trained on.

    survey: where its survey is, if it has moved since. header_bytes: where its line numbers are then.

    Raises SurveyNotFoundError: it has, and nobody says where to. RunError: it is not what it was.
    """
    settings = run.read_settings()
    request = settings.request.moved(survey, header_bytes)
    try:
        section = request.open_survey().read_line(settings.line_kind, settings.line_number)
    except SurveyNotFoundError as error:
        raise SurveyNotFoundError(
            f"The export is proved on patches of the survey that the network was trained on, and there is no file at "
            f"{request.survey}. Say where it is now by `--survey CUBE.sgy` beside what you gave."
        ) from error
    check_amplitudes(run, section, request.survey)
    return section


def _libraries() -> dict[str, str]:
    return {
        "tf2onnx": tf2onnx.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
        "opset": str(OPSET),
    }
