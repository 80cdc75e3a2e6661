"""Names in scripts that matplotlib's own font lacks."""

import io
import warnings

import pytest
from matplotlib.figure import Figure

from alexnet_jax.paper.fonts import for_any_script


def drawn(text):
    with for_any_script():
        figure = Figure()
        figure.text(0.5, 0.5, text)
        figure.savefig(io.BytesIO(), format="png")


def test_characters_without_a_font_are_noted_once(capfd):
    drawn("cat")
    assert capfd.readouterr().err == ""
    drawn("\U0001f9ff\u4dff\U00020000\U000f0000")  # the last one is for private use
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("alexnet-jax: note: names have characters that no installed font has")


def test_other_warnings_stay():
    with pytest.warns(UserWarning, match="mine"), for_any_script():
        warnings.warn("mine", stacklevel=1)
