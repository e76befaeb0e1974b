"""Facies as an attribute of OpendTect's External Attribute plugin: traces with their neighbours in, values out.

Source of the protocol: waynegm/OpendTect-Plugins, bin/python/wmpy/extattrib.py (MIT) and plugins/ExternalAttrib. The
host starts the script with `-g` and reads its parameters as URL-quoted JSON; with `-c JSON` it writes one SeisInfo and
then, trace by trace, a TrcInfo and a block of float32 (inline, crossline, sample), and waits for that trace's values
before it writes the next. So nothing can be put off, and to compute each trace by itself would throw away nearly all
work. The script therefore asks for `AHEAD` traces more on either side than a patch takes, classifies those that lie
ahead in one go, and keeps the answers under a digest of the 64 (or P) traces that each one depends on. A trace whose
traces it has seen is looked up, in whatever order the host comes along.

For a position without a trace the host repeats the trace in the middle. No two live traces of a survey are equal to the
last bit, so such repetitions are taken for what they are: silence, as beyond the edge of a section.
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
import urllib.parse
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from infer.amplitude import UNDEFINED
from infer.card import read_card
from infer.classification import probabilities_at
from infer.errors import InferError, OptionError, OutputError
from infer.files import replacing
from infer.models import find_model, load_model
from infer.section import LineKind, Section
from infer.sessions import Model

AHEAD = 32
"""Traces that are classified beyond the one that is asked for. With 32 the slice model's surroundings are as much again
as what is asked for."""
KEPT_BYTES = 256 * 1024 * 1024
OUTPUTS = ("Facies", "Confidence", "Probability")

_SEIS_INFO = struct.Struct("=5i5f")
"""Traces, inputs, outputs, inlines, crosslines; sample interval, distances of inlines and crosslines, two factors."""
_TRC_INFO = struct.Struct("=4i")  # samples, first sample, inline, crossline

_SCRIPT = '''"""Seismic facies by {model}, along the {along}: a script for OpendTect's External Attribute plugin."""

import sys

try:
    from infer.hosts.opendtect_attribute import run
except ImportError:
    sys.exit("This script needs the Python that `infer` is installed in: choose it as the attribute's interpreter.")

run(sys.argv[1:], model={model!r}, along={along!r}, device={device!r})
'''


def write_attribute(path: Path, model: str, along: LineKind = "inline", device: str = "auto") -> None:
    """Write the script that OpendTect is given.

    Raises ModelNotFoundError, ModelError: no model with a card. OptionError: neither inline nor crossline. OutputError:
    it cannot be written there.
    """
    if along not in ("inline", "crossline"):
        raise OptionError(f"A section is an inline or a crossline, not '{along}'.")
    if path.suffix != ".py" or not path.parent.is_dir():
        raise OutputError(f"{path} cannot be written: the attribute is a .py in a folder that is there.")
    found = find_model(model)
    read_card(found)
    named = str(found.resolve()) if model.endswith(".onnx") else model
    try:
        with replacing(path) as temporary:
            temporary.write_text(_SCRIPT.format(model=named, along=along, device=device), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path} could not be written: {error.strerror or error}.") from error


def run(arguments: Sequence[str], model: str, along: LineKind, device: str = "auto") -> None:
    """What the script does with the words that the host starts it with. Ends the process where something is wrong."""
    try:
        if list(arguments[:1]) == ["-g"]:
            print(urllib.parse.quote(json.dumps(parameters(model, along))), flush=True)
        elif list(arguments[:1]) == ["-c"] and len(arguments) == 2:
            chosen = json.loads(urllib.parse.unquote(arguments[1]))
            Attribute(load_model(model, device), along, chosen).serve(sys.stdin.buffer, sys.stdout.buffer)
        else:
            raise OptionError("OpendTect's External Attribute plugin runs this script, with -g or -c and parameters.")
    except (InferError, ValueError) as error:
        sys.exit(str(error))


def parameters(model: str, along: LineKind) -> dict[str, Any]:
    """What the host shows and asks for: inputs, outputs, how much of a trace's neighbourhood it hands over."""
    card = read_card(find_model(model))
    before = card.patch_size // 2
    step = before + AHEAD
    return {
        "Inputs": ["Seismic"],
        "Output": list(OUTPUTS),
        "ZSampMargin": {"Value": [-before, card.patch_size - 1 - before], "Hidden": True},
        "StepOut": {"Value": [0, step] if along == "inline" else [step, 0], "Hidden": True},
        "Par_0": {"Name": "Amplitude clip", "Value": card.amplitude_clip or 1.0},
        "Select": {"Name": "Probability of", "Values": list(card.facies_names), "Selection": 0},
        "Parallel": False,
    }


class Attribute:
    """Answers a host, trace by trace."""

    def __init__(self, model: Model, along: LineKind, chosen: dict[str, Any]) -> None:
        """chosen: the parameters as the host gives them back.

        Raises OptionError: there is no such facies, or no clip.
        """
        self._model, self._along = model, along
        try:
            self._clip = float(chosen["Par_0"]["Value"])
            self._facies = int(chosen["Select"]["Selection"])
        except (KeyError, TypeError, ValueError) as error:
            raise OptionError(f"OpendTect gave no amplitude clip or no facies to this script: {error}.") from error
        if not 0 <= self._facies < len(model.card.facies_names):
            raise OptionError(f"{model.card.name} has no facies with the number {self._facies}.")
        self._answers: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()  # [output, sample] by digest
        self._kept = 0

    def serve(self, incoming: IO[bytes], outgoing: IO[bytes]) -> None:
        """Answer until the host ends."""
        head = incoming.read(_SEIS_INFO.size)
        if len(head) < _SEIS_INFO.size:
            return
        n_traces, _, _, inlines, crosslines, *_ = _SEIS_INFO.unpack(head)
        needed, across = 2 * (self._model.card.patch_size // 2) + 1, inlines if self._along == "inline" else crosslines
        if across != 1 or n_traces < needed:
            raise OptionError(
                f"This attribute takes windows of one {self._along} and {needed} traces along it and more, and "
                f"OpendTect hands out {inlines} inlines and {crosslines} crosslines."
            )
        while len(head := incoming.read(_TRC_INFO.size)) == _TRC_INFO.size:
            n_samples = _TRC_INFO.unpack(head)[0]
            block = incoming.read(4 * n_traces * n_samples)
            if len(block) < 4 * n_traces * n_samples:
                return
            window = np.frombuffer(block, np.float32).reshape(n_traces, n_samples)
            outgoing.write(self.answer(window).tobytes())
            outgoing.flush()

    def answer(self, window: NDArray[np.float32]) -> NDArray[np.float32]:
        """The values `[output, sample]` of the trace in the middle of a window `[trace, sample]`."""
        size, centre = self._model.card.patch_size, len(window) // 2
        section = Section.from_amplitude(window, self._along)
        if not section.live[centre]:
            return np.full((len(OUTPUTS), window.shape[1]), UNDEFINED, np.float32)
        stand_ins = (window == window[centre]).all(axis=1)
        stand_ins[centre] = False
        section.amplitude[stand_ins] = 0
        first = centre - size // 2  # of the patch around the trace in the middle
        asked = self._digest(section, first)
        if asked not in self._answers:
            self._classify(section, range(centre, len(window) - (size - 1 - size // 2)))
        self._answers.move_to_end(asked)
        return self._answers[asked]

    def _classify(self, section: Section, traces: range) -> None:
        """Keep the answers of these traces, the last of which a patch just reaches."""
        indices, samples = np.array(traces), np.arange(section.shape[1])
        engine = self._model.engine()
        if engine == "patch":  # which shares nothing among traces
            indices = indices[:1]
        found = probabilities_at(section, indices, samples, self._model, self._clip, engine)
        values = np.stack([found.argmax(axis=0), found.max(axis=0), found[self._facies]], axis=1).astype(np.float32)
        for trace, answer in zip(indices.tolist(), values, strict=True):
            digest = self._digest(section, trace - self._model.card.patch_size // 2)
            if digest not in self._answers:
                self._answers[digest] = answer.copy()
                self._kept += answer.nbytes
        while self._kept > KEPT_BYTES and len(self._answers) > len(indices):
            self._kept -= self._answers.popitem(last=False)[1].nbytes

    def _digest(self, section: Section, first: int) -> bytes:
        """Of all that the answer of a trace depends on: the traces of its patches, from the first on."""
        traces = section.amplitude[first : first + self._model.card.patch_size]
        return hashlib.blake2b(traces.data, digest_size=16).digest()
