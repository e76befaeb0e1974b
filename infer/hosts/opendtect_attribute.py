"""Facies as an attribute of OpendTect's External Attribute plugin: traces with their neighbours in, values out.

Source of the protocol: waynegm/OpendTect-Plugins, bin/python/wmpy/extattrib.py (MIT) and plugins/ExternalAttrib. The
host starts the script with `-g` and reads its parameters as URL-quoted JSON; with `-c JSON` it writes one SeisInfo and
then, trace by trace, a TrcInfo and a block of float32 (inline, crossline, sample), and waits for that trace's values
before it writes the next. So nothing can be put off, and to compute each trace by itself would throw away nearly all
work. The script therefore asks for P - 1 traces more on either side than a patch of P takes, classifies a trace and
those P - 1 that lie ahead in one go, and keeps the answers under a digest of the P traces that each one depends on. A
trace whose traces it has seen is looked up, in whatever order the host comes along; where none was, the slice model has
run over 2P - 1 traces in the place of P, so that looking ahead in vain costs no more than twice the time.

Windows are odd: their middle is the trace asked for, and of a patch with an even P the last trace is dropped. In time
the margins are P//2 before and P - 1 - P//2 after, as a patch is. Beyond a trace's ends the host puts zeros, as `infer`
does. For a position without a trace it repeats the trace in the middle. No two live traces of a survey are equal to the
last bit, so such repetitions are taken for what they are: silence, as beyond the edge of a section. So the answers are
those of `classify` for the whole line, to float rounding, but for one thing: a trace is dead if the part of it that the
host asks for is, with its margins.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import sys
import urllib.parse
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from infer.amplitude import UNDEFINED, check_clip, is_live
from infer.card import read_card
from infer.classification import probabilities_at
from infer.errors import InferError, OptionError, OutputError
from infer.files import writing
from infer.models import find_model, load_model
from infer.section import LineKind, Section
from infer.sessions import Model, choose_device

KEPT_BYTES = 512 * 1024 * 1024
"""Of answers. A volume comes inline after inline, so that along crosslines those ahead wait for all other crosslines:
F3's 951 take 380 MB."""
OUTPUTS = ("Facies", "Confidence", "Probability")

_SEIS_INFO = struct.Struct("=5i5f")
"""Traces, inputs, outputs, inlines, crosslines; sample interval, distances of inlines and crosslines, two factors."""
_TRC_INFO = struct.Struct("=4i")  # samples, first sample, inline, crossline

_SCRIPT = '''"""Seismic facies along the {along}: a script for OpendTect's External Attribute plugin."""

import sys

try:
    from infer.hosts.opendtect_attribute import run
except ImportError:
    sys.exit("This script needs the Python that `infer` is installed in: choose it as the attribute's interpreter.")

run(sys.argv[1:], model={model!r}, along={along!r}, device={device!r})
'''


def write_attribute(path: Path, model: str, along: LineKind = "inline", device: str = "auto") -> None:
    """Write the script that OpendTect is given.

    Raises ModelNotFoundError, ModelError: no model with a card. OptionError: neither inline nor crossline, or no
    such device. DeviceError: it cannot be used. OutputError: it cannot be written there.
    """
    if along not in ("inline", "crossline"):
        raise OptionError(f"A section is an inline or a crossline, not '{along}'.")
    if path.suffix != ".py" or not path.parent.is_dir():
        raise OutputError(f"{path} cannot be written: the attribute is a .py in a folder that is there.")
    found = find_model(model).resolve()  # the host runs in some other folder, where a name may mean another model
    read_card(found)
    choose_device(device)
    with writing(path) as temporary:
        temporary.write_text(_SCRIPT.format(model=str(found), along=along, device=device), encoding="utf-8")


def run(arguments: Sequence[str], model: str, along: LineKind, device: str = "auto") -> None:
    """What the script does with the words that the host starts it with. Ends the process where something is wrong."""
    try:
        with _host_output() as outgoing:
            if list(arguments[:1]) == ["-g"]:
                outgoing.write(urllib.parse.quote(json.dumps(parameters(model, along))).encode())
            elif list(arguments[:1]) == ["-c"] and len(arguments) == 2:
                chosen = json.loads(urllib.parse.unquote(arguments[1]))
                Attribute(load_model(model, device), along, chosen).serve(sys.stdin.buffer, outgoing)
            else:
                raise OptionError(
                    "OpendTect's External Attribute plugin runs this script, with -g or -c and parameters."
                )
    except json.JSONDecodeError as error:
        sys.exit(f"The parameters are not JSON: {error}.")
    except InferError as error:
        sys.exit(str(error))


@contextlib.contextmanager
def _host_output() -> Iterator[IO[bytes]]:
    """The way to the host. What anybody else writes to standard output meanwhile, libraries in C too, goes to standard
    error, since a single byte of it would shift every value that the host reads from there on.
    """
    sys.stdout.flush()
    with os.fdopen(os.dup(1), "wb") as outgoing:
        os.dup2(2, 1)
        try:
            yield outgoing
        finally:
            sys.stdout.flush()
            os.dup2(outgoing.fileno(), 1)


def parameters(model: str, along: LineKind) -> dict[str, Any]:
    """What the host shows and asks for: inputs, outputs, how much of a trace's neighbourhood it hands over."""
    card = read_card(find_model(model))
    before = card.patch_size // 2
    after = card.patch_size - 1 - before
    margin, step = [-before, after], card.patch_size - 1 + after
    return {
        "Inputs": ["Seismic"],
        "Output": list(OUTPUTS),
        # Of hidden margins the plugin's window (plugins/uiExternalAttrib) makes [+32, 31]: so it has to show them.
        "ZSampMargin": {"Value": margin, "Minimum": margin, "Hidden": False},
        "StepOut": {"Value": [0, step] if along == "inline" else [step, 0], "Hidden": True},
        "Par_0": {"Name": "Amplitude clip", "Value": card.amplitude_clip or 1.0},
        "Select": {"Name": "Probability of", "Values": list(card.facies_names), "Selection": 0},
        "Parallel": False,  # several processes would not know each other's answers
    }


class Attribute:
    """Answers a host, trace by trace."""

    def __init__(self, model: Model, along: LineKind, chosen: dict[str, Any]) -> None:
        """chosen: the parameters as the host gives them back.

        Raises OptionError: there is no such facies, no clip, or margins too small for a patch.
        """
        self._model, self._along = model, along
        try:
            self._clip = float(chosen["Par_0"]["Value"])
            self._facies = int(chosen["Select"]["Selection"])
            self._before, self._after = -int(chosen["ZSampMargin"]["Value"][0]), int(chosen["ZSampMargin"]["Value"][1])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise OptionError("OpendTect gave this script no amplitude clip, no facies or no Z window.") from error
        if check_clip(self._clip) >= UNDEFINED:  # an empty field
            raise OptionError("There is no amplitude clip: set it to the survey's, which `infer scan` prints.")
        if not 0 <= self._facies < len(model.card.facies_names):
            raise OptionError(f"{model.card.name} has no facies with the number {self._facies}.")
        before = model.card.patch_size // 2
        after = model.card.patch_size - 1 - before
        if self._before < before or self._after < after:
            raise OptionError(
                f"The Z window has to reach {before} samples before and {after} after for patches of "
                f"{model.card.patch_size} samples, and it reaches {self._before} before and {self._after} after."
            )
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
        """The values `[output, sample]` of the trace in the middle of a window `[trace, sample]`.

        They are undefined in the margins, and everywhere on a dead trace.
        """
        centre, size = len(window) // 2, self._model.card.patch_size
        section = Section.from_amplitude(window, self._along)
        trace = section.amplitude[centre]
        if self._is_dead(trace):
            return np.full((len(OUTPUTS), trace.size), UNDEFINED, np.float32)
        stand_ins = (section.amplitude == trace).all(axis=1)
        stand_ins[centre] = False
        section.amplitude[stand_ins] = 0
        asked = self._digest(section, centre)
        if asked not in self._answers:
            ahead = np.arange(centre + 1, len(window) - (size - 1 - size // 2))
            self._classify(section, np.append(centre, ahead[is_live(section.amplitude[ahead])]))
        self._answers.move_to_end(asked, last=False)  # the first to make room: it will hardly be asked for again
        return self._answers[asked]

    def _is_dead(self, trace: NDArray[np.float32]) -> bool:
        """Whether a trace repeats one value, and its margins that or the zeros beyond its ends."""
        value = trace[self._before]
        inside = trace[self._before : trace.size - self._after]
        return bool((inside == value).all() and ((trace == value) | (trace == 0)).all())

    def _classify(self, section: Section, traces: NDArray[np.int64]) -> None:
        """Keep the answers of these traces."""
        engine = self._model.engine()
        if engine == "patch":  # which shares nothing among traces
            traces = traces[:1]
        samples = np.arange(self._before, section.shape[1] - self._after)
        found = probabilities_at(section, traces, samples, self._model, self._clip, engine)
        values = np.full((traces.size, len(OUTPUTS), section.shape[1]), UNDEFINED, np.float32)
        values[..., samples] = np.stack([found.argmax(axis=0), found.max(axis=0), found[self._facies]], axis=1)
        for trace, answer in zip(traces.tolist(), values, strict=True):
            digest = self._digest(section, trace)
            if digest not in self._answers:
                self._answers[digest] = answer.copy()
                self._kept += answer.nbytes
        while self._kept > KEPT_BYTES and len(self._answers) > traces.size:
            self._kept -= self._answers.popitem(last=False)[1].nbytes

    def _digest(self, section: Section, trace: int) -> bytes:
        """Of all that the answer of a trace depends on: the traces of its patches."""
        first = trace - self._model.card.patch_size // 2
        traces = section.amplitude[first : first + self._model.card.patch_size]
        return hashlib.blake2b(traces.data, digest_size=16).digest()
