"""What does the service cost? Slices per second and latency over HTTP on loopback, against calling the library.

For 1, 2 and 4 clients: `library` calls `classify` in that many threads of this process; `facies` asks a service in a
process of its own for facies, `all` for probabilities too, through tritonclient with raw bytes. They take turns, and
ratios are taken round by round. Clients and service share the processor, as they would on a workstation. Then: how long
a request takes whose model answers zeros at once, which is what is not classifying.

    python benchmarks/service.py [SURVEY.sgy CROSSLINE]
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tritonclient.http
from machine import describe_machine

from infer import Section, classify, load_model, open_survey

MODEL = "waldeland"
TRACES, SAMPLES = 651, 462  # an F3 crossline
OUTPUTS = {"facies": ["facies"], "all": ["facies", "probabilities"]}
CLIENTS = (1, 2, 4)
SLICES = 4  # by all clients together, in a round
ROUNDS = 5
SERVE = [sys.executable, "-c", "from infer.cli import main; main()", "serve", "--model", MODEL, "--device", "cpu"]
ZEROS = [sys.executable, __file__, "--zeros"]


def main() -> None:
    section, clip = line()
    print(describe_machine())
    print(f"{MODEL}, {section.shape[0]} x {section.shape[1]} samples, {SLICES} slices a round, {ROUNDS} rounds")
    with service(SERVE) as address:
        contenders = {"library": library(section, clip)} | {
            name: functools.partial(remote, address, section, clip, outputs) for name, outputs in OUTPUTS.items()
        }
        for start in contenders.values():
            start()()  # warm
        print(f"{'clients':>7}  {'':<8}{'slices/s':>9}{'against library':>17}{'median':>10}{'95th percentile':>17}")
        for clients in CLIENTS:
            measure(clients, contenders)
    with service(ZEROS) as address:
        for name, outputs in OUTPUTS.items():
            call = remote(address, section, clip, outputs)
            call()
            taken = statistics.median(seconds(call) for _ in range(50))
            print(f"without classifying, a request for {name} takes {1e3 * taken:.1f} ms")


def measure(clients: int, contenders: dict[str, Callable[[], Callable[[], object]]]) -> None:
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    latencies: dict[str, list[float]] = {name: [] for name in contenders}
    for _, (name, start) in itertools.product(range(ROUNDS), contenders.items()):
        taken, each = load(clients, start)
        rates[name].append(SLICES / taken)
        latencies[name] += each
    for name in contenders:
        ratio = statistics.median(mine / other for mine, other in zip(rates[name], rates["library"], strict=True))
        middle, late = np.percentile(latencies[name], (50, 95))
        rate = statistics.median(rates[name])
        print(f"{clients:>7}  {name:<8}{rate:>9.2f}{ratio:>17.3f}{middle:>8.2f} s{late:>15.2f} s", flush=True)


def load(clients: int, start: Callable[[], Callable[[], object]]) -> tuple[float, list[float]]:
    """Seconds for SLICES slices by that many clients, each in a thread, and the seconds that each slice took."""
    waiting, latencies = threading.Barrier(clients + 1), []

    def work() -> None:
        call = start()
        waiting.wait()
        latencies.extend([seconds(call) for _ in range(SLICES // clients)])

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    waiting.wait()
    started = time.perf_counter()
    for thread in threads:
        thread.join()
    return time.perf_counter() - started, latencies


def library(amplitude: np.ndarray, clip: float) -> Callable[[], Callable[[], object]]:
    model = load_model(MODEL, "cpu")
    return lambda: lambda: classify(Section.from_amplitude(amplitude), model, clip).facies


def remote(address: str, amplitude: np.ndarray, clip: float, outputs: list[str]) -> Callable[[], object]:
    """What asks the service, over a connection that stays open."""
    client = tritonclient.http.InferenceServerClient(address)
    asked = [tritonclient.http.InferRequestedOutput(name) for name in outputs]

    def call() -> object:
        section = tritonclient.http.InferInput("section", amplitude.shape, "FP32")
        section.set_data_from_numpy(amplitude)
        scale = tritonclient.http.InferInput("amplitude_clip", [1], "FP32")
        scale.set_data_from_numpy(np.array([clip], np.float32))
        result = client.infer(f"{MODEL}_slice", [section, scale], outputs=asked)
        return [result.as_numpy(name) for name in outputs]

    return call


@contextlib.contextmanager
def service(command: list[str]) -> Iterator[str]:
    """The address of a service that a command starts, at a free port."""
    with subprocess.Popen([*command, "--port", "0"], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().split("http://")[1].split("/")[0]
        finally:
            process.terminate()


def serve_zeros() -> None:
    """A service whose slice model answers at once."""
    from infer.hosts import service
    from infer.hosts.offered import offer

    class Zeros:
        def __init__(self, model):
            self.name, self.inputs, self.outputs = model.name, model.inputs, model.outputs

        def answer(self, inputs, _cancel):
            shape = inputs["section"].shape
            return {"facies": np.zeros(shape, np.int8), "probabilities": np.zeros((9, *shape), np.float32)}

    with service.listen("127.0.0.1", 0) as listening:
        print(f"http://127.0.0.1:{listening.getsockname()[1]}/v2", flush=True)
        service.serve(service.create_app([Zeros(offer([MODEL], "cpu")[1])]), listening)


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def line() -> tuple[np.ndarray, float]:
    """A section `[trace, sample]` and its clip: noise, unless a survey is given."""
    if len(sys.argv) == 3:
        survey = open_survey(Path(sys.argv[1]))
        return survey.read_crossline(int(sys.argv[2])).amplitude, survey.amplitude_clip
    return np.random.default_rng(0).normal(0, 500, (TRACES, SAMPLES)).astype(np.float32), 1_200.0


if __name__ == "__main__":
    if "--zeros" in sys.argv:
        serve_zeros()
        sys.exit()
    if len(sys.argv) not in (1, 3):
        sys.exit(__doc__)
    main()
