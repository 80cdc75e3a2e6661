"""Curves as SVG that stands in a page and takes its colours from it, in the light and in the dark.

What is drawn has the colours of the light theme; in a page each of them becomes a CSS variable.
"""

import dataclasses
import html
import io
import re
from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

INK, MUTED, GRID = "#1b1d21", "#5a606b", "#dfe2e8"
COLORS = ("#1f5fa8", "#b8450f", "#1d7a46", "#8a3fa0", "#8a6a00", "#b3265e", "#0d7a85", "#5b5f6b")
THEME = {INK: "ink", MUTED: "muted", GRID: "grid"} | {color: f"c{i}" for i, color in enumerate(COLORS)}
_SIZE = (4.1, 2.6)  # inches: read at the width of a phone, two beside each other on a desk


@dataclasses.dataclass(frozen=True, eq=False)
class Series:
    """A curve.

    Attributes:
      name: in the key; none of its own where a curve before it has the same.
      x: its places.
      y: its values.
      color: number of it in `COLORS`; from there on they come again, dashed.
      thin: whether it is one of several alike.
      points: whether each value is marked, where there are few.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    color: int
    thin: bool = False
    points: bool = False

    @property
    def style(self) -> tuple[int, bool]:
        """(number of the colour, whether it is dashed)."""
        return self.color % len(COLORS), self.color >= len(COLORS)


@dataclasses.dataclass(frozen=True)
class Chart:
    """A drawing for a page.

    Attributes:
      title: what it shows.
      svg: it.
      key: (name, number of the colour, whether it is dashed) of each curve; empty of a single one.
    """

    title: str
    svg: str
    key: tuple[tuple[str, int, bool], ...] = ()


def curves(
    ident: str,
    title: str,
    series: Sequence[Series],
    cuts: Sequence[tuple[float, float]] = (),
    percent: bool = False,
    log: bool = False,
) -> Chart:
    """Curves over epochs.

    Args:
      ident: of the chart in the page, of letters.
      title: what is shown, and its unit.
      series: the first ones beneath the others.
      cuts: (epoch, learning rate) of the steps to mark.
      percent: whether the values are fractions, shown in %.
      log: whether they are shown on a logarithmic scale; else from 0.
    """
    figure = Figure(figsize=_SIZE, layout="constrained")
    ax = figure.subplots()
    for each in series:
        color, dashed = each.style
        ax.plot(
            each.x,
            each.y,
            color=COLORS[color],
            linestyle="--" if dashed else "-",
            linewidth=0.9 if each.thin else 1.5,
            marker="o" if (each.points and len(each.x) <= 20) or len(each.x) == 1 else None,
            markersize=3,
        )
    if log and any(value > 0 for each in series for value in each.y):
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_minor_formatter(NullFormatter())
    else:
        ax.set_ylim(bottom=0)
    if percent:
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))
    ax.set_xlim(left=0)
    plain(ax)
    for epoch, rate in cuts:
        ax.axvline(epoch, color=MUTED, linewidth=0.8, linestyle=":")
        ax.annotate(
            f"rate {rate:.3g}",
            (epoch, 1),
            (-2, -2),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            rotation=90,
            ha="right",
            va="top",
            fontsize=7.5,
            color=MUTED,
        )
    key = tuple(dict.fromkeys((each.name, *each.style) for each in series))
    value = "{:.1%}" if percent else "{:.3g}"
    ends = [f"{s.name} ends at {value.format(s.y[-1])}" for s in series if len(s.y)]
    return Chart(title, themed(figure, ident, title, "; ".join(ends)), key if len(key) > 1 else ())


def plain(ax: Axes) -> None:
    """Axes of epochs with as little ink as will do."""
    ax.set_xlabel("epochs", fontsize=9, color=MUTED)
    ax.tick_params(labelsize=9, labelcolor=MUTED, color=GRID, which="both")
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(GRID)
    ax.grid(axis="y", color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)


def themed(figure: Figure, ident: str, title: str, description: str) -> str:
    """A figure as an element of a page: its colours, its fonts and its ids are the page's.

    Args:
      figure: in colours of `THEME`.
      ident: what its ids begin with.
      title: for those who don't see it.
      description: what it says, for them.
    """
    svg = svg_text(figure, ident)
    box = re.search(r'viewBox="[^"]*"', svg)
    assert box is not None
    body = svg[svg.index("<g id=") :]  # after the head with its style for all elements of a page
    body = re.sub(r"'DejaVu Sans'[^;\"]*", "var(--sans)", body)
    body = re.sub(r'\bid="', f'id="{ident}-', body)
    body = re.sub(r'(href="|url\()#', rf"\g<1>#{ident}-", body)
    for color, name in THEME.items():
        body = body.replace(color, f"var(--{name})")
    return (
        f'<svg class="chart" role="img" aria-labelledby="{ident}-title {ident}-desc" {box[0]}>'
        f'<title id="{ident}-title">{html.escape(title)}</title>'
        f'<desc id="{ident}-desc">{html.escape(description)}</desc>{body}'
    )


def svg_text(figure: Figure, ident: str) -> str:
    """An SVG file with text as text, the same bytes for the same figure."""
    file = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": ident}):
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    return file.getvalue()
