"""How fast is a whole survey, against single lines in a loop, and how much memory does it take?

A synthetic cube of F3's size (651 x 951 x 462 samples of 8 bits, 435 MB) is classified along its inlines for some
minutes, then interrupted as a user would (Ctrl-C). Single lines of the same cube are classified in a loop before and
after it.

    python benchmarks/cube.py [MINUTES] [MODEL] [DEVICE]
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import describe_machine

INLINES, CROSSLINES, SAMPLES = 651, 951, 462
LINES_IN_A_LOOP = 12


def main() -> None:
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 3
    model = sys.argv[2] if len(sys.argv) > 2 else "waldeland"
    device = sys.argv[3] if len(sys.argv) > 3 else "cpu"
    print(f"{describe_machine()}, {device}")
    with tempfile.TemporaryDirectory() as folder:
        cube = Path(folder) / "cube.sgy"
        write_cube(cube)
        print(f"{model} on {INLINES} x {CROSSLINES} x {SAMPLES} samples, {cube.stat().st_size / 1e6:,.0f} MB")
        before = in_a_loop(cube, model, device)
        rate, memory, lines, written = as_a_cube(cube, model, device, Path(folder) / "facies.sgy", minutes)
        after = in_a_loop(cube, model, device)
    loop = (before + after) / 2
    print(f"single lines in a loop   {before:>10,.0f} samples/s before, {after:,.0f} after")
    print(f"infer cube               {rate:>10,.0f} samples/s over {lines} lines: {rate / loop:.3f} of the loop")
    early, late, peak = memory
    print(f"its memory               {early:>10,.0f} MB early, {late:,.0f} MB late, {peak:,.0f} MB at most")
    read = cube_bytes_a_sample()
    print(f"a sample                 {read:>10.2f} bytes read, {written:.2f} written")
    for name, samples in (("F3, 286 million samples", 286e6), ("1,000 km2", 40e9), ("30,000 km2", 1.2e12)):
        hours = samples / rate / 3600
        print(f"{name:<25}{hours:>10,.1f} hours like this, {hours / 100:,.1f} on 100 such workers")


def write_cube(path: Path) -> None:
    """Band-limited noise with layers, 8-bit integers, inline by inline."""
    binary = np.zeros(400, np.uint8)
    binary[16:18], binary[20:22], binary[24:26] = pair(4000), pair(SAMPLES), pair(8)
    rng = np.random.default_rng(0)
    kernel = np.array([-1, 0, 2, 4, 5, 4, 2, 0, -1]) / 8
    with path.open("wb") as file:
        file.write("C 1 SYNTHETIC".ljust(3200).encode("cp037"))
        file.write(binary.tobytes())
        row = np.zeros((CROSSLINES, 240 + SAMPLES), np.uint8)
        row[:, 114:116], row[:, 108:110] = pair(SAMPLES), pair(4)
        row[:, 192:196] = np.arange(300, 300 + CROSSLINES, dtype=">i4").view(np.uint8).reshape(-1, 4)
        layers = np.convolve(rng.standard_normal(SAMPLES + 8), kernel, "valid") * 25
        for inline in range(100, 100 + INLINES):
            row[:, 188:192] = np.array([inline], ">i4").view(np.uint8)
            noise = rng.standard_normal((CROSSLINES, SAMPLES), np.float32) * 10
            row[:, 240:] = np.clip(layers + noise, -127, 127).astype(np.int8).view(np.uint8)
            file.write(row.tobytes())


def pair(number: int) -> np.ndarray:
    return np.array([number], ">i2").view(np.uint8)


def in_a_loop(cube: Path, model: str, device: str) -> float:
    """Samples/s of single lines, read and classified one after the other, in a process of its own."""
    program = (
        "import json, sys, time, infer\n"
        "survey, model = infer.open_survey(sys.argv[1]), infer.load_model(sys.argv[2], sys.argv[3])\n"
        "clip = survey.amplitude_clip\n"
        "infer.classify(survey.read_inline(100), model, clip)\n"
        "started = time.perf_counter()\n"
        f"for inline in range(101, 101 + {LINES_IN_A_LOOP}):\n"
        "    infer.classify(survey.read_inline(inline), model, clip)\n"
        "print(time.perf_counter() - started)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, cube, model, device], check=True, capture_output=True, text=True
    )
    return LINES_IN_A_LOOP * CROSSLINES * SAMPLES / float(done.stdout)


def as_a_cube(
    cube: Path, model: str, device: str, out: Path, minutes: float
) -> tuple[float, tuple[float, float, float], int, float]:
    """Samples/s, memory early, late and at most (MB), lines done, bytes written a sample."""
    words = ["cube", str(cube), str(out), "--model", model, "--device", device]
    command = [sys.executable, "-c", "from infer.cli import main; main()", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    started, memory = None, []
    journal = out.with_name(f"{out.name}.journal")
    while process.poll() is None:
        time.sleep(1)
        blocks = journal.read_text().count('"block"') if journal.exists() else 0
        if blocks and started is None:
            started = time.perf_counter(), blocks  # the first block has the start of everything in it
        memory.append(resident_mb(process.pid))
        if started and time.perf_counter() - started[0] > 60 * minutes:
            process.send_signal(signal.SIGINT)
            break
    taken, blocks = time.perf_counter() - started[0], blocks - started[1]
    said = process.communicate()[1]
    lines = int(re.search(r"Stopped\. ([\d,]+) of", said)[1].replace(",", "")) if "Stopped" in said else INLINES
    entry = json.loads(journal.read_text().splitlines()[0])
    per_block = entry["version"][1]
    rate = blocks * per_block * CROSSLINES * SAMPLES / taken
    written = 1 + 240 / SAMPLES
    return rate, (memory[len(memory) // 10], memory[-1], max(memory)), lines, written


def cube_bytes_a_sample() -> float:
    """Traces are read once, and their headers once more to be written back."""
    return 1 + 2 * 240 / SAMPLES


def resident_mb(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return float("nan")
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
