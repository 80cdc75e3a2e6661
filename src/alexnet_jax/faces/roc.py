"""A drawing of ROC curves."""

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from alexnet_jax.faces.evaluate import FaceScores
from alexnet_jax.paper.charts import COLORS, INK, MUTED, plain


def draw(found: FaceScores) -> Figure:
    """Draw the ROC curve of each kind of features, all trials together, and the line of chance."""
    figure = Figure(figsize=(4.6, 4.4), layout="constrained")
    ax = figure.subplots()
    plain(ax)
    ax.plot((0, 1), (0, 1), color=MUTED, linewidth=0.8, linestyle=":", label="chance")
    for score, color in zip(found.scores, COLORS, strict=False):
        curve = score.verification
        ax.plot(
            curve.false_positive_rate,
            curve.true_positive_rate,
            color=color,
            linewidth=1.5,
            label=score.features,
        )
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    ax.set_xlabel("mismatched pairs that are accepted", fontsize=9, color=MUTED)
    ax.set_ylabel("matched pairs that are accepted", fontsize=9, color=MUTED)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    ax.legend(fontsize=8, labelcolor=INK, frameon=False, loc="lower right")
    return figure
