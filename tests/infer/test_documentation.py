"""What the documentation says that Python answers, it answers."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

import infer
import infer.amplitude
import infer.cube_cli
import infer.region
import infer.section
import infer.survey

ROOT = Path(__file__).parents[2]
OPTIONS = doctest.IGNORE_EXCEPTION_DETAIL


def test_the_plugin_developers_page():
    done = doctest.testfile(str(ROOT / "docs" / "plugins.md"), module_relative=False, optionflags=OPTIONS)
    assert done.attempted > 10
    assert not done.failed


@pytest.mark.parametrize("module", [infer, infer.amplitude, infer.section, infer.survey, infer.region, infer.cube_cli])
def test_docstrings(module):
    done = doctest.testmod(module, optionflags=OPTIONS)
    assert done.attempted
    assert not done.failed
