"""The one table of facies: MalenoV's names in MalenoV's order, and the colour that each is drawn in.

Colours: nine of Paul Tol's (Colour Schemes, technical note SRON/EPS/TN/09-002, 3.2, 2021), chosen from his "bright",
"vibrant", "muted" and "light" schemes to lie as far apart as nine can once they are laid over grey, for normal and for
red-green blind eyes.
"""

from __future__ import annotations

FACIES: dict[str, str] = {
    "else": "#eedd88",  # light yellow
    "grizzly": "#882255",  # wine
    "high_amp_continuous": "#332288",  # indigo
    "high_amplitude": "#99ddff",  # light cyan
    "low_amp_dips": "#44aa99",  # teal
    "low_amplitude": "#4477aa",  # blue
    "low_coherency": "#aaaa00",  # olive
    "salt": "#ee8866",  # orange
    "steep_dips": "#cc3311",  # red
}
"""Colour by name. A facies' place in the table is its code."""

FACIES_NAMES = tuple(FACIES)
FACIES_COLOURS = tuple(FACIES.values())
