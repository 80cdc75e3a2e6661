"""Fonts for names in any script: matplotlib's own font has no Chinese, Japanese or Korean."""

import contextlib
import warnings
from collections.abc import Iterator

import matplotlib
from matplotlib import font_manager

from alexnet_jax.errors import NOTE
from alexnet_jax.runtime import progress

_FAMILIES = (
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans JP", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei"),
    *("IPAGothic", "Noto Sans Arabic", "Noto Sans Devanagari", "Noto Sans Thai", "Unifont"),
)


@contextlib.contextmanager
def for_any_script() -> Iterator[None]:
    """Draw and save figures with the installed fonts for other scripts. Note once what none of them has."""
    installed = {font.name for font in font_manager.fontManager.ttflist}
    families = [*matplotlib.rcParams["font.family"], *(name for name in _FAMILIES if name in installed)]
    with warnings.catch_warnings(record=True) as caught, matplotlib.rc_context({"font.family": families}):
        warnings.filterwarnings("always", "Glyph .* missing from font")
        yield
    missing = [each for each in caught if str(each.message).startswith("Glyph")]
    for each in caught:
        if each not in missing:
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
    if missing:
        progress.note(
            f"{NOTE}names have characters that no installed font has, drawn as boxes: install a font, such as"
            " Noto Sans CJK"
        )
