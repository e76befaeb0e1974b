"""Which machine a number comes from."""

from __future__ import annotations

import platform
from pathlib import Path

from infer.sessions import cores


def describe_machine() -> str:
    return f"{processor()}, {cores()} cores, Python {platform.python_version()}, {platform.system()}"


def processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        if names:
            return names[0]
    return platform.processor() or platform.machine()
