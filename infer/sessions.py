"""onnxruntime sessions: device choice, threads, what really runs."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import io
import math
import os
import re
import sys
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from infer.card import ModelCard, read_card
from infer.errors import DependencyError, DeviceError, ModelError, OptionError

CPU_BATCH_BYTES = 512 * 1024
"""Patches of one batch on a CPU: they and the first layer's maps should stay in a core's cache."""
CUDA_BATCH_BYTES = 4 * 1024 * 1024
"""On a GPU: enough work to fill it, and little enough to cut the next batch meanwhile. On an H200 four times as much
took the Waldeland CNN 1.3 times as long, ResNet50 1.5 times, VGG16 as long."""

CPU_TILE, CUDA_TILE = 128, 256
"""The most traces, and the most samples, of one tile of the slice engine. Smaller ones compute more surroundings twice:
32 x 64 took 1.4 times as long for an F3 crossline with the Waldeland CNN. Larger ones only take more memory: in 2
threads 220 MB with 128, 370 MB with 64 traces of all samples, 770 MB with 217 of them, at the same speed. On an H200
128 and 1,024 both took 1.4 times as long as 256. A tile may be two patches wide too: with its surroundings it is two or
three times as large then, and no more."""
PATCHES_FROM_STRIDE = 4
"""From this stride on patches are quicker: k² times fewer, while a slice model computes all samples at any stride. F3
crossline 500 with the Waldeland CNN took 4.4 s of CPU time in the slice model, and by patches 5.7 s with a stride of 3,
3.2 s with 4."""

SLICE_SUFFIX = ".slice.onnx"

Engine = Literal["slice", "patch"]

_CUDA_SETTINGS = {
    "fp32": {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"},
    "fp16": {"cudnn_conv_algo_search": "EXHAUSTIVE", "prefer_nhwc": "1"},
    "int8": {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "1"},
}
"""The CUDA provider's, by a model's precision. In fp32 its answers are the CPU's to 1e-6; on an H200 products in TF32
were 1.1 times as fast, and so was the exhaustive search, which takes half a second. In fp16 cuDNN's heuristics find
nothing for the widely dilated convolutions of a slice model; with channels last vgg16-context was 1.1 times as fast. In
int8 the provider multiplies the numbers that the integers stand for: in TF32, which is finer than they are,
vgg16-context was 5.3 times as fast, ResNet50 2.2 times."""

PRODUCTS = (
    b'\x08\x05\x12\x00:a\n\x18\n\x01a\n\x01b\x12\x01c"\rMatMulInteger\x12\x00'
    b"Z\x15\n\x01a\x12\x10\n\x0e\x08\x02\x12\n\n\x03\x12\x01m\n\x03\x12\x01k"
    b"Z\x15\n\x01b\x12\x10\n\x0e\x08\x03\x12\n\n\x03\x12\x01k\n\x03\x12\x01n"
    b"b\x15\n\x01c\x12\x10\n\x0e\x08\x06\x12\n\n\x03\x12\x01m\n\x03\x12\x01nB\x04\n\x00\x10\n"
)
"""An ONNX model: c = MatMulInteger(a uint8 `[m, k]`, b int8 `[k, n]`)."""

_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"


@dataclass(frozen=True)
class Device:
    """Where a session runs: `cpu`, or one CUDA device."""

    kind: Literal["cpu", "cuda"]
    index: int = 0
    name: str = ""

    def __str__(self) -> str:
        if self.kind == "cpu":
            return f"CPU ({_count(cores(), 'thread')})"
        return f"CUDA:{self.index} ({self.name})"


class Model:
    """A patch model, its slice model, or both, on a device. Safe to use from several threads at once; each thread takes
    its own `Runner`.

    On a CPU every batch or tile runs in the thread that asks for it, `workers` of them side by side, one a core: no
    thread waits for another at the end of each layer, and no thread of onnxruntime is left to spin in a host program.
    Of patches wider than `CPU_TILE` tiles come one at a time, and all cores share one: with vgg16-context it takes a
    gigabyte.
    """

    def __init__(
        self,
        path: Path,
        device: str = "auto",
        *,
        files: dict[Engine, Path] | None = None,
        no_slice_reason: str = "",
        stride: int = 1,
    ) -> None:
        """Start a session for the .onnx file at `path` on `auto`, `cpu`, `cuda` or `cuda:N`.

        files: what each engine runs, if it is not `path` alone. no_slice_reason: why a slice model that is there is not
        among them. `load_model` finds both.
        stride: the one to be used. The session that it takes starts now, another one when it is first needed.

        Raises ModelError: not a patch model or slice model with a card. DeviceError: CUDA was asked for and cannot run,
        with the reason. DependencyError: no onnxruntime is installed.
        """
        self.path = path.absolute()  # a host may change its folder before another session starts
        self.card: ModelCard = read_card(path)
        self.no_slice_reason = no_slice_reason
        files = files or {"slice" if path.name.endswith(SLICE_SUFFIX) else "patch": path}
        self._files: dict[Engine, Path] = {engine: file.absolute() for engine, file in files.items()}
        self._stride = stride
        self._sessions: dict[Engine, Any] = {}
        self._starting = threading.Lock()
        self.device, self.device_reason = choose_device(device)
        try:
            self._session(self.engine(stride))
        except DeviceError as error:
            if device != "auto":
                raise
            self.device, self.device_reason = Device("cpu"), f"a session on the GPU did not start: {error}"
            self._session(self.engine(stride))
        self.workers = cores() if self.device.kind == "cpu" else 2  # on a GPU: one cuts while the other runs

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as its files, its device and its options; sessions start where it is unpickled."""
        device = "cpu" if self.device.kind == "cpu" else f"cuda:{self.device.index}"
        start = functools.partial(
            type(self),
            self.path,
            device,
            files=self._files,
            no_slice_reason=self.no_slice_reason,
            stride=self._stride,
        )
        return start, ()

    def has(self, engine: Engine) -> bool:
        """Whether there is a model for that engine."""
        return engine in self._files

    def engine(self, stride: int = 1) -> Engine:
        """Which engine classifies a section with that stride: the quicker one of those that can."""
        if "slice" in self._files and (stride < PATCHES_FROM_STRIDE or "patch" not in self._files):
            return "slice"
        return "patch"

    def batch_size(self, positions: int, asked: int | None = None) -> int:
        """How many patches a batch holds, by the device's rule unless `asked` for; never more than `positions`."""
        budget = CPU_BATCH_BYTES if self.device.kind == "cpu" else CUDA_BATCH_BYTES
        sound = asked or max(1, budget // (4 * self.card.patch_size**2))
        return max(1, min(sound, positions))

    @property
    def tile_size(self) -> int:
        """The most traces, and the most samples, of one tile: `CPU_TILE` or `CUDA_TILE`, or two patches."""
        return max(CPU_TILE if self.device.kind == "cpu" else CUDA_TILE, 2 * self.card.patch_size)

    @property
    def tile_workers(self) -> int:
        """How many tiles are computed side by side."""
        return 1 if self._shares_tiles() else self.workers

    def _shares_tiles(self) -> bool:
        return self.device.kind == "cpu" and self.card.patch_size > CPU_TILE

    def runner(self, batch_size: int) -> Runner:
        """Buffers for one thread to run batches of `batch_size` patches: `[patch, P, P]` in, `[patch, facies]` out.

        Raises ModelError: this is a slice model only.
        """
        size = self.card.patch_size
        return Runner(
            self._session("patch"),
            self.device,
            {"patches": np.zeros((batch_size, size, size), np.float32)},
            (batch_size, len(self.card.facies_names)),
            f"A batch of {batch_size:,} patches",
            "a smaller batch size takes less",
        )

    def tile_runner(self, traces: int, samples: int) -> Runner:
        """Buffers for one thread to run tiles of that size with: a tile with its surroundings in, P//2 before it and
        P-1-P//2 after it, scaled and with zeros outside the section; `[facies, trace, sample]` out.

        Raises ModelError: there is no slice model.
        """
        around = self.card.patch_size - 1
        inputs: dict[str, NDArray[Any]] = {
            "section": np.zeros((traces + around, samples + around), np.float32),
            "amplitude_clip": np.array(1, np.float32),
            "padding": np.zeros(4, np.int64),
        }
        return Runner(
            self._session("slice"),
            self.device,
            inputs,
            (len(self.card.facies_names), traces, samples),
            f"A tile of {traces:,} traces and {samples:,} samples",
            "patches take less",
        )

    def _session(self, engine: Engine) -> Any:
        """The session for an engine; started if it is not, by one thread while others wait."""
        if engine not in self._files:
            raise ModelError(f"{self.card.name} was loaded without a {engine} model for the {engine} engine to run.")
        with self._starting:
            if engine not in self._sessions:
                path = self._files[engine]
                shared = engine == "slice" and self._shares_tiles()
                session = _start(path, self.device, cores() if shared else 1, self.card.precision)
                check = _check_slice_contract if engine == "slice" else _check_contract
                check(session, self.card, path.name)
                self._sessions[engine] = session
            return self._sessions[engine]


class Runner:
    """One thread's bound buffers: fill `input`, call `run`, read what it returns before the next call."""

    def __init__(
        self,
        session: Any,
        device: Device,
        inputs: dict[str, NDArray[Any]],  # the first is filled for every run, the others stay as they are
        output_shape: tuple[int, ...],  # of `probabilities`
        work: str,
        remedy: str,
    ) -> None:
        ort = onnxruntime()
        self._session, self._binding = session, session.io_binding()
        self._inputs, self._work, self._remedy = inputs, work, remedy
        self.input: NDArray[np.float32] = next(iter(inputs.values()))
        self._probabilities: NDArray[np.float32] = np.empty(output_shape, np.float32)
        # An OrtValue on the CPU shares the array's memory, so the input is made where the session reads it.
        values = {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in inputs.items()}
        self._on_device = None
        if device.kind == "cuda":
            self._on_device = ort.OrtValue.ortvalue_from_numpy(self.input, "cuda", device.index)
            values[next(iter(inputs))] = self._on_device
        for name, value in values.items():
            self._binding.bind_ortvalue_input(name, value)
        self._binding.bind_ortvalue_output("probabilities", ort.OrtValue.ortvalue_from_numpy(self._probabilities))

    def run(self) -> NDArray[np.float32]:
        """Probabilities for all of `input`: a buffer that the next call overwrites."""
        try:
            if self._on_device is not None:
                self._on_device.update_inplace(self.input)
            self._session.run_with_iobinding(self._binding)
            self._binding.synchronize_outputs()
        except Exception as error:  # onnxruntime's exceptions share no base of their own
            raise DeviceError(
                f"{self._work} failed in onnxruntime, which says “{error}”. If it is short of memory, {self._remedy}."
            ) from error
        return self._probabilities


def choose_device(asked: str) -> tuple[Device, str]:
    """The device for `auto`, `cpu`, `cuda` or `cuda:N`, and why it is not a GPU where `auto` chose the CPU.

    Raises OptionError: none of these. DeviceError: CUDA was asked for and cannot run, with the reason.
    """
    parts = re.fullmatch(r"auto|cpu|cuda(?::([0-9]+))?", asked)
    if parts is None:
        raise OptionError(f"There is no device '{asked}': use auto, cpu, cuda or cuda:N, such as cuda:0.")
    if asked == "cpu":
        return Device("cpu"), ""
    index = int(parts[1] or 0)
    reason = cuda_obstacle(index)
    if reason is None:
        return Device("cuda", index, cuda_device_names()[index]), ""
    if asked != "auto":
        raise DeviceError(f"CUDA device {index} cannot be used: {reason} `infer doctor` shows what can run here.")
    return Device("cpu"), reason


def cuda_obstacle(index: int = 0) -> str | None:
    """A sentence on why CUDA device `index` cannot run a session here; None if nothing is known to stand in the way.

    Asked before onnxruntime is, since onnxruntime would log to the screen and quietly go on with the CPU.
    """
    try:
        names = cuda_device_names()
    except OSError as error:
        return f"{error}."
    if _CUDA not in onnxruntime().get_available_providers():
        return (
            "the installed onnxruntime is the one without CUDA. "
            'Replace it: `pip uninstall onnxruntime`, then `pip install "facies-edge[gpu]"`.'
        )
    if index >= len(names):
        return f"there {'is' if len(names) == 1 else 'are'} {_count(len(names), 'CUDA device')}, numbered from 0."
    return _cuda_library_obstacle()


@cache
def cuda_device_names() -> tuple[str, ...]:
    """The names of the CUDA devices, as the driver gives them.

    Raises OSError: no driver, or it does not start.
    """
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError as error:
        raise OSError("there is no NVIDIA driver") from error
    status = driver.cuInit(0)
    if status:
        raise OSError(f"the NVIDIA driver does not start (cuInit returned {status})")
    count, device, name = ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(256)
    driver.cuDeviceGetCount(ctypes.byref(count))
    names = []
    for index in range(count.value):
        driver.cuDeviceGet(ctypes.byref(device), index)
        driver.cuDeviceGetName(name, len(name), device)
        names.append(name.value.decode(errors="replace"))
    return tuple(names)


@cache
def _cuda_library_obstacle() -> str | None:
    ort = onnxruntime()
    # preload_dlls prints what it misses; the sentence below says it instead, and a library does not print.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Exception):
        ort.preload_dlls()
    folder = Path(ort.__file__).parent / "capi"
    pattern = "onnxruntime_providers_{}.dll" if sys.platform == "win32" else "libonnxruntime_providers_{}.so"
    try:
        for library in ("shared", "cuda"):
            ctypes.CDLL(str(folder / pattern.format(library)))
    except OSError as error:
        missing = str(error).removeprefix(str(folder)).split(": cannot open")[0]
        return f'a library of CUDA or cuDNN does not load: {missing}. `pip install "facies-edge[gpu]"` brings them.'
    return None


@cache
def onnxruntime() -> Any:
    """The onnxruntime module.

    Raises DependencyError: neither onnxruntime nor onnxruntime-gpu is installed.
    """
    try:
        import onnxruntime as ort

        ort.InferenceSession  # noqa: B018 - an uninstalled onnxruntime leaves an empty folder that still imports
    except (ImportError, AttributeError) as error:
        raise DependencyError(
            'No onnxruntime is installed: `pip install "facies-edge[cpu]"`, or `pip install "facies-edge[gpu]"` for a '
            "machine with an NVIDIA GPU."
        ) from error
    return ort


def session_options() -> Any:
    """Onnxruntime's options for a session whose integers are multiplied exactly.

    Where products saturate it takes a setting, or one patch of F3 in fifty got another facies from VGG16; it makes int8
    models half as fast there. Elsewhere it changes no answer, and on a processor with AVX-VNNI, which onnxruntime 1.31
    takes for one of the others, vgg16-context took 4 times as long with it, and 3 times the memory.
    """
    options = onnxruntime().SessionOptions()
    if _products_saturate():
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


@cache
def _products_saturate() -> bool:
    """Whether onnxruntime adds products of uint8 and int8 in 16 bits here, as on x86 processors that lack VNNI."""
    ort = onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(PRODUCTS, options, providers=[_CPU])
    largest = {"a": np.full((16, 64), 255, np.uint8), "b": np.full((64, 16), 127, np.int8)}
    return bool((session.run(None, largest)[0] != 64 * 255 * 127).any())


def cores() -> int:
    """How many processors this process may use, a container's quota included."""
    if sys.platform != "linux":
        return os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(allowed, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no cgroup v2, or no quota: "max"
        return allowed


def _start(path: Path, device: Device, threads: int, precision: str) -> Any:
    ort = onnxruntime()
    options = session_options()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    if threads > 1:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.enable_cpu_mem_arena = False  # with it a tile of vgg16-context takes twice the memory, and no less time
    options.log_severity_level = 4  # errors come as exceptions; nothing goes to the host's screen
    providers: list[Any] = [_CPU]
    if device.kind == "cuda":
        # Weights become floats once; else, in int8, onnxruntime does that in every run, for biases on the CPU.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        settings = dict(_CUDA_SETTINGS.get(precision, _CUDA_SETTINGS["fp32"]))
        if device.index:  # 0 is the default; where it is named, onnxruntime since 1.26 warns on the screen
            settings["device_id"] = str(device.index)
        providers = [(_CUDA, settings), _CPU]
    try:
        session = ort.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
    except Exception as error:  # onnxruntime's exceptions share no base of their own
        if device.kind == "cuda":
            raise DeviceError(f"CUDA device {device.index} cannot be used: onnxruntime says “{error}”.") from error
        raise ModelError(f"{path.name} cannot be run by onnxruntime {ort.__version__}: {error}.") from error
    if device.kind == "cuda" and session.get_providers()[0] != _CUDA:
        raise DeviceError(f"CUDA device {device.index} cannot be used: onnxruntime left it out without a reason.")
    return session


def _check_contract(session: Any, card: ModelCard, name: str) -> None:
    """Raise ModelError unless the session takes and gives what the design's contract says."""
    size, facies = card.patch_size, len(card.facies_names)
    inputs = {value.name: (value.type, value.shape[1:]) for value in session.get_inputs()}
    outputs = {value.name: (value.type, value.shape[1:]) for value in session.get_outputs()}
    if inputs != {"patches": ("tensor(float)", [size, size])} or outputs != {
        "probabilities": ("tensor(float)", [facies])
    }:
        raise ModelError(
            f"{name} is not a patch model: by its card it should take `patches` float32 [batch, {size}, {size}] and "
            f"give `probabilities` float32 [batch, {facies}], but it takes {inputs} and gives {outputs}."
        )
    if isinstance(session.get_inputs()[0].shape[0], int):
        raise ModelError(f"{name} runs batches of one size only: export it with a free batch dimension.")


def _check_slice_contract(session: Any, card: ModelCard, name: str) -> None:
    """Raise ModelError unless the session takes and gives what the design says of slice models."""
    facies, free = len(card.facies_names), ["free", "free"]
    inputs = _described([*session.get_inputs(), *session.get_overridable_initializers()])
    outputs = _described(session.get_outputs())
    takes = {
        "section": ("tensor(float)", free),
        "amplitude_clip": ("tensor(float)", []),
        "padding": ("tensor(int64)", [4]),
    }
    gives = {"facies": ("tensor(int8)", free), "probabilities": ("tensor(float)", [facies, *free])}
    if inputs != takes or outputs != gives:
        raise ModelError(
            f"{name} is not a slice model: it should take `section` float32 [trace, sample] of any size and, optional, "
            f"`amplitude_clip` float32 and `padding` int64 [4], and give `facies` int8 [trace, sample] and "
            f"`probabilities` float32 [{facies}, trace, sample], but it takes {inputs} and gives {outputs}."
        )


def _described(values: list[Any]) -> dict[str, tuple[str, list[Any]]]:
    """Type and shape by name, with "free" for dimensions of any length."""
    return {
        value.name: (value.type, [size if isinstance(size, int) else "free" for size in value.shape])
        for value in values
    }


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
