"""Seismic facies for whole lines of a SEG-Y survey: the runtime, light enough to live inside a host program."""

from __future__ import annotations
