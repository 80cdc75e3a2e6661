"""What there is to say of a training: from its metrics.jsonl, its settings, its net and its data."""

import dataclasses
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from alexnet_jax.config import base, saved
from alexnet_jax.data.cache import DataInfo, NoTestSplit
from alexnet_jax.errors import RunError
from alexnet_jax.files import absolute
from alexnet_jax.net.shapes import config_shapes
from alexnet_jax.paper.charts import Chart, Series, curves
from alexnet_jax.parallel.mesh import data_mesh
from alexnet_jax.report import images as report_images
from alexnet_jax.report.asked import Asked
from alexnet_jax.report.images import Figure3, Tested
from alexnet_jax.runtime import progress
from alexnet_jax.text import size_in_words
from alexnet_jax.training import metrics
from alexnet_jax.training.checkpoint import Checkpoints
from alexnet_jax.training.metrics import Evaluation, Metrics
from alexnet_jax.training.restored import restore
from alexnet_jax.training.run import total_steps
from alexnet_jax.training.workdir import read_workdir


@dataclasses.dataclass(frozen=True, eq=False)
class Facts:
    """All that the page of a training shows.

    Attributes:
      asked: what for.
      name: of the workdir.
      data: what it is trained on.
      net: a sentence about it.
      epoch: how far it is trained.
      epochs: how far it is to be trained.
      steps: updates done, and to do.
      last: the last evaluation of the training's own; None before the first.
      step: of the checkpoint; None where there is none.
      lacks: what is missing or not as it should be, a line each.
      changed: (key, value, default) of the settings that are not the defaults, but for the layers.
      settings: (key, value) of all.
      charts: curves over epochs.
      layers: a row of words for each layer, the head first.
      figure3: None where there is no such layer, or no checkpoint.
      tested: None without a checkpoint, or without the images.
    """

    asked: Asked
    name: str
    data: DataInfo
    net: str
    epoch: float
    epochs: float | None
    steps: tuple[int, int | None]
    last: Evaluation | None
    step: int | None
    lacks: tuple[str, ...]
    changed: list[tuple[str, str, str]]
    settings: list[tuple[str, str]]
    charts: list[Chart]
    layers: list[tuple[str, ...]]
    figure3: Figure3 | None
    tested: Tested | None

    @property
    def evaluation(self) -> str:
        """The command that gives the test's figures again."""
        assert self.tested is not None
        result = self.tested.mistakes.result
        flags = [f"--workdir={self.asked.workdir}", f"--step={self.step}", f"--split={result.split}"]
        return shlex.join(
            ["alexnet-jax", "evaluate", *flags, f"--views={result.views}", *self.asked.overrides]
        )

    @property
    def pairs(self) -> list[tuple[str, str, str]]:
        """Right class, what it is taken for, how often: for where there is no matrix."""
        words = self.data.class_words
        counts = self.tested.mistakes.confusion.sum(axis=1) if self.tested else ()
        pairs = self.tested.pairs if self.tested else ()
        return [(words[i], words[j], f"{count:,} of {counts[i]:,}") for i, j, count in pairs]


def gather(asked: Asked, complain: Callable[[str], None]) -> Facts:
    """Reads, restores and tests what is there.

    Args:
      asked: what for.
      complain: takes a line about what is missing or not as it should be.

    Raises:
      UserError: no workdir, no such checkpoint or split, a damaged cache, other data.
    """
    path = absolute(asked.workdir)
    config, info = report_images.config_of(asked), read_workdir(asked.workdir)[1]
    told = metrics.read(path)
    lacks: list[str] = []
    if told.cut:
        lacks.append(f"metrics.jsonl is cut off in line {told.cut}: what follows is left out")
    if not told.train:
        lacks.append("metrics.jsonl has no line of training yet: there are no curves")
    net, tested, figure3 = None, None, None
    if not has_checkpoints(path):
        lacks.append(
            "there is no checkpoint yet, so there are no figures, no test and no mistakes; train writes one"
            f" every {_every(config)}"
        )
    else:
        progress.note(progress.reading(asked.workdir, asked.step))
        net = restore(asked.workdir, asked.step, data_mesh())
        figure3 = report_images.kernels(net)
        try:
            cache = report_images.cache_of(asked, net, config)
            if cache.info.fingerprint != info.fingerprint:
                lacks.append("the images are not those it was trained on: their splits may overlap")
            tested = report_images.test(asked, net, cache)
        except (report_images.NoImages, NoTestSplit) as error:
            lacks.append(f"{error}; without its images there is no test and no figure 4, and no mistakes")
        except RunError as error:
            lacks.append(str(error))
    for line in lacks:
        complain(line)
    step, epoch = told.last
    total = config.num_steps
    if told.steps_per_epoch:
        total = total_steps(config, told.steps_per_epoch)
    return Facts(
        asked=asked,
        name=path.name,
        data=info,
        net=_sentence(config),
        epoch=epoch,
        epochs=total / told.steps_per_epoch if total and told.steps_per_epoch else None,
        steps=(step, total),
        last=told.evaluations[-1] if told.evaluations else None,
        step=None if net is None else net.step,
        lacks=tuple(lacks),
        changed=[
            (key, words(new), words(old))
            for key, old, new in saved.changes(base(), config)
            if not key.startswith("net.layers")
        ],
        settings=[(key, words(value)) for key, value in sorted(saved.settings(config).items())],
        charts=_charts(told),
        layers=_layers(config),
        figure3=figure3,
        tested=tested,
    )


def has_checkpoints(workdir: epath.Path) -> bool:
    """Whether there is one that is whole."""
    if not (workdir / "checkpoints").exists():
        return False
    with Checkpoints(workdir) as checkpoints:
        return bool(checkpoints.steps())


def _charts(told: Metrics) -> list[Chart]:
    """Loss, errors and images/s; and of each layer mean |w| and mean |step|."""
    if not told.train:
        return []
    train, cuts = told.train, told.cuts()
    epochs = _column(train, "epoch")
    split = told.evaluations[-1]["split"] if told.evaluations else ""
    tested = [line for line in told.evaluations if line["split"] == split]
    at = _column(tested, "epoch")
    loss = [Series("training", epochs, _column(train, "loss"), 0, thin=True)]
    errors = [Series("training", epochs, _column(train, "top1_error"), 0, thin=True)]
    if tested:
        loss.append(Series(split, at, _column(tested, "loss"), 1, points=True))
        errors.append(Series(split, at, _column(tested, "top1_error"), 1, points=True))
        errors.append(Series(f"{split}, top 5", at, _column(tested, "top5_error"), 2, points=True))
    speed = [Series("images/s", epochs, _column(train, "images_per_second"), 0, thin=True)]
    charts = [
        curves("loss", "Loss, nats", loss, cuts),
        curves("errors", "Error, top 1 and top 5", errors, cuts, percent=True),
        curves("speed", "Images per second, without evaluation", speed),
    ]
    per_epoch = told.steps_per_epoch
    if told.layers and per_epoch:
        at = [line["step"] / per_epoch for line in told.layers]
        names = list(told.layers[-1]["layers"])
        for what, title in (("weights", "Mean |w| of each layer"), ("steps", "Mean |step| of each layer")):
            each = [
                Series(name, at, [line["layers"][name][what] for line in told.layers], i, points=True)
                for i, name in enumerate(names)
            ]
            charts.append(curves(what, title, each, cuts if what == "steps" else (), log=True))
    return charts


def _column(lines: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    return [line[key] for line in lines]


def _sentence(config: ConfigDict) -> str:
    shapes = config_shapes(config)
    count = sum(int(np.prod(shape)) for layer in shapes for shape in layer.params.values())
    learned = sum(bool(layer.params) for layer in shapes)
    towers = config.net.towers
    return f"{learned} layers with weights in {towers} tower{'s' * (towers > 1)}, {count:,} parameters"


def _layers(config: ConfigDict) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("layer", "kind", "output of a tower", "reads", "kernels", "parameters")]
    count = 0
    for layer in config_shapes(config):
        parameters = sum(int(np.prod(shape)) for shape in layer.params.values())
        kernel = next(iter(layer.params.values()), ())
        count += parameters
        rows.append(
            (
                layer.layer.name,
                type(layer.layer).__name__,
                " x ".join(map(str, layer.outputs)),
                "all towers" if layer.reads_all_towers else "the image" if layer.shared and kernel else "",
                " x ".join(map(str, kernel)),
                f"{parameters:,}" if parameters else "",
            )
        )
    return [*rows, ("in all", "", "", "", "", f"{count:,}, {size_in_words(4 * count)}")]


def _every(config: ConfigDict) -> str:
    if config.checkpoint_every:
        return f"{config.checkpoint_every} steps"
    return f"{config.checkpoint_every_epochs:g} epochs"


def words(value: Any) -> str:
    """A setting, as a command line takes it."""
    return str(tuple(value)) if isinstance(value, list) else str(value)
