"""Draw curves as SVG for a page with a light and a dark theme.

A figure is drawn in the colours of the light theme. `themed` then replaces each colour by a CSS variable.
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

from alexnet_jax.text import visible

INK, MUTED, GRID = "#1b1d21", "#5a606b", "#dfe2e8"
COLORS = ("#1f5fa8", "#b8450f", "#1d7a46", "#8a3fa0", "#8a6a00", "#b3265e", "#0d7a85", "#5b5f6b")
THEME = {INK: "ink", MUTED: "muted", GRID: "grid"} | {color: f"c{i}" for i, color in enumerate(COLORS)}
_SIZE = (4.1, 2.6)  # inches: legible on a phone; two fit side by side on a desktop


@dataclasses.dataclass(frozen=True, eq=False)
class Series:
    """A curve.

    Attributes:
      name: name in the legend; curves with the same name share an entry.
      x: positions on the horizontal axis.
      y: values.
      color: index in `COLORS`; larger numbers repeat the colours with dashes.
      thin: whether to draw a thin line, for noisy curves or many of them.
      points: whether to mark each value, if they are few.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    color: int
    thin: bool = False
    points: bool = False

    @property
    def style(self) -> tuple[int, bool]:
        """The index of the colour, and whether the line is dashed."""
        return self.color % len(COLORS), self.color >= len(COLORS)


@dataclasses.dataclass(frozen=True)
class Chart:
    """A drawing for a page.

    Attributes:
      title: title of the drawing.
      svg: the drawing, an ``svg`` element.
      key: legend: (name, index of the colour, whether the line is dashed) for each curve; empty for a single
        curve.
    """

    title: str
    svg: str
    key: tuple[tuple[str, int, bool], ...] = ()


def curves(
    ident: str,
    title: str,
    series: Sequence[Series],
    reductions: Sequence[tuple[float, float]] = (),
    percent: bool = False,
    log: bool = False,
) -> Chart:
    """Draw curves over epochs.

    Args:
      ident: id of the chart in the page, of letters only.
      title: title, with the unit of the values.
      series: the curves; later ones are drawn over earlier ones.
      reductions: (epoch, new learning rate) of each reduction of the learning rate, to mark.
      percent: whether the values are fractions, to be shown in %.
      log: whether the vertical scale is logarithmic; otherwise it begins at 0.
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
    for epoch, rate in reductions:
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
    """Style axes that show values over epochs."""
    ax.set_xlabel("epochs", fontsize=9, color=MUTED)
    ax.tick_params(labelsize=9, labelcolor=MUTED, color=GRID, which="both")
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(GRID)
    ax.grid(axis="y", color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)


def themed(figure: Figure, ident: str, title: str, description: str) -> str:
    """Return a figure as an ``svg`` element with the colours and fonts of the page.

    Args:
      figure: figure in the colours of `THEME`.
      ident: prefix of the ids of its elements.
      title: title for screen readers.
      description: description for screen readers.
    """
    svg = svg_text(figure, ident)
    box = re.search(r'viewBox="[^"]*"', svg)
    assert box is not None
    body = svg[svg.index("<g id=") :]  # without the head, whose style would apply to the whole page
    body = body.replace("xlink:href", "href")  # the head declares this prefix
    body = re.sub(r"'DejaVu Sans'[^;\"]*", "var(--sans)", body)
    body = re.sub(r'\bid="', f'id="{ident}-', body)
    body = re.sub(r'(href="|url\()#', rf"\g<1>#{ident}-", body)
    for color, name in THEME.items():
        body = body.replace(color, f"var(--{name})")
    return (
        f'<svg class="chart" role="img" aria-labelledby="{ident}-title {ident}-desc" {box[0]}>'
        f'<title id="{ident}-title">{html.escape(visible(title))}</title>'
        f'<desc id="{ident}-desc">{html.escape(visible(description))}</desc>{body}'
    )


def svg_text(figure: Figure, ident: str) -> str:
    """Return a figure as SVG that keeps text as text. The same figure gives the same bytes."""
    file = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": ident}):
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    return file.getvalue()
