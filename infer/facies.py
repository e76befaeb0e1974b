"""The one table of facies: MalenoV's names in MalenoV's order, and the colour that each is drawn in.

Colours: Paul Tol's qualitative scheme "muted" (Colour Schemes, technical note SRON/EPS/TN/09-002, 3.2,
2021), made to be told apart with normal and colour-blind vision. None is a grey, so that they read over a grey section.
"""

from __future__ import annotations

FACIES: dict[str, str] = {
    "else": "#ddcc77",  # sand
    "grizzly": "#882255",  # wine
    "high_amp_continuous": "#332288",  # indigo
    "high_amplitude": "#88ccee",  # cyan
    "low_amp_dips": "#44aa99",  # teal
    "low_amplitude": "#999933",  # olive
    "low_coherency": "#117733",  # green
    "salt": "#cc6677",  # rose
    "steep_dips": "#aa4499",  # purple
}
"""Colour by name. A facies' place in the table is its code."""

FACIES_NAMES = tuple(FACIES)
FACIES_COLOURS = tuple(FACIES.values())
