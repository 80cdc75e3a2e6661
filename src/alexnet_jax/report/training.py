"""Gather the facts for the page of a training, from its log, settings, checkpoint and data."""

import contextlib
import dataclasses
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from alexnet_jax.config import base, saved
from alexnet_jax.config.overrides import data_location
from alexnet_jax.data.cache import DataInfo, NoTestSplit
from alexnet_jax.data.dataset import NoImages
from alexnet_jax.errors import RunError, UserError
from alexnet_jax.files import absolute
from alexnet_jax.net.shapes import config_shapes
from alexnet_jax.paper import figure3, published
from alexnet_jax.paper.charts import Chart, Series, curves
from alexnet_jax.paper.figure3 import Figure3
from alexnet_jax.parallel.mesh import data_mesh
from alexnet_jax.report import images as report_images
from alexnet_jax.report.images import Tested
from alexnet_jax.report.request import Request
from alexnet_jax.runtime import progress
from alexnet_jax.sweep.spec import Published
from alexnet_jax.text import size_in_words, time_in_words
from alexnet_jax.training import goodput, metrics
from alexnet_jax.training.checkpoint import Checkpoints
from alexnet_jax.training.metrics import Evaluation, Metrics
from alexnet_jax.training.restored import restore
from alexnet_jax.training.schedule import Plateau, total_steps
from alexnet_jax.training.workdir import read_workdir, saved_steps


@dataclasses.dataclass(frozen=True, eq=False)
class Facts:
    """The facts that the page of a training shows.

    Attributes:
      request: request for the report.
      name: name of the workdir.
      data: description of the training data.
      net: description of the network: numbers of layers, towers and parameters.
      epoch: number of epochs so far.
      epochs: number of epochs of the whole training; None if it is unknown.
      steps: number of updates so far and of the whole training; None for the second if it is unknown.
      ended: whether the training has ended, at its last step or its last plateau.
      training_error: top-1 error in the last line of the log, a fraction; None before the first.
      last: last evaluation during training; None before the first.
      published: published error rates of the same network on the same data; None if there are none.
      step: step of the checkpoint; None if there is none.
      problems: lines, one for each missing or unexpected thing.
      changed: (key, value, default) of the settings that differ from the defaults, without the layers.
      settings: (key, value) of all settings.
      reductions: (epoch, new learning rate) of each reduction that the charts mark.
      charts: curves over epochs: loss, errors, images/s, and the FLOP utilization if it is known.
      layer_charts: curves over epochs for each layer; empty before the first evaluation.
      goodput: (what, share of the time, time) for all runs in the workdir; empty if the times are unknown.
      layers: cells of a table of the layers, the header first.
      figure3: data of figure 3; None without a checkpoint, or if no convolution reads the image.
      tested: results on images; None without a checkpoint, or without the images.
    """

    request: Request
    name: str
    data: DataInfo
    net: str
    epoch: float
    epochs: float | None
    steps: tuple[int, int | None]
    ended: bool
    training_error: float | None
    last: Evaluation | None
    published: Published | None
    step: int | None
    problems: tuple[str, ...]
    changed: list[tuple[str, str, str]]
    settings: list[tuple[str, str]]
    reductions: list[tuple[float, float]]
    charts: list[Chart]
    layer_charts: list[Chart]
    goodput: list[tuple[str, str, str]]
    layers: list[tuple[str, ...]]
    figure3: Figure3 | None
    tested: Tested | None

    @property
    def chance(self) -> float:
        """The top-1 error of random guesses, a fraction, if all classes are equally frequent."""
        return 1 - 1 / len(self.data.class_names)

    @property
    def next_step(self) -> tuple[str, str]:
        """What to do next, and the command for it."""
        workdir = f"--workdir={self.request.workdir}"
        if not self.ended:
            return "To continue the training, run it again:", _command("train", "--config=RECIPE", workdir)
        if self.tested is None:
            return "To test it on a machine that has its images:", _command(
                "evaluate", workdir, *self.request.overrides
            )
        if self.tested.mistakes.result.views == 1:
            return "To average over ten views of each image, as the paper does:", self.evaluation(10)
        return "To classify images of your own:", _command("predict", workdir, "FOLDER")

    def evaluation(self, views: int) -> str:
        """Return the command that tests this checkpoint again, with 1 or 10 views of each image."""
        assert self.tested is not None
        flags = [f"--workdir={self.request.workdir}", f"--step={self.step}"]
        flags += [f"--split={self.tested.mistakes.result.split}", f"--views={views}"]
        return _command("evaluate", *flags, *self.request.overrides)

    @property
    def pairs(self) -> list[tuple[str, str, str]]:
        """(right class, predicted class, how often) in words; empty if there is a matrix."""
        words = self.data.class_words
        counts = self.tested.mistakes.confusion.sum(axis=1) if self.tested else ()
        pairs = self.tested.pairs if self.tested else ()
        return [(words[i], words[j], f"{count:,} of {counts[i]:,}") for i, j, count in pairs]


def gather(request: Request, warn: Callable[[str], None]) -> Facts:
    """Read the log, restore the checkpoint and test it, as far as these exist.

    Args:
      request: workdir to report on, with options.
      warn: function that takes a line about each problem, such as missing images.

    Raises:
      UserError: the workdir, the checkpoint or the split does not exist, or the data is damaged or differs.
    """
    path = absolute(request.workdir)
    config, info = read_workdir(request.workdir)
    given = data_location("report", config, list(request.overrides))
    log = metrics.read(path)
    problems: list[str] = []
    if log.damaged:
        problems.append(metrics.damage(log.damaged))
    seconds: Mapping[goodput.Kind, float] = {}
    try:
        seconds = goodput.read(path)
    except ValueError as error:
        problems.append(str(error))
    if not log.train:
        problems.append("metrics.jsonl has no training lines yet, so there are no curves")
    net, tested, kernels, plateau = None, None, None, Plateau()
    if not saved_steps(path):
        problems.append(
            "there is no checkpoint yet, so there are no figures, no test and no mistakes; train writes one"
            f" every {_every(config)}"
        )
    else:
        progress.note(progress.reading(request.workdir, request.step))
        net = restore(request.workdir, request.step, data_mesh())
        with Checkpoints(path) as checkpoints:
            plateau = checkpoints.plateau()
        with contextlib.suppress(UserError):  # no convolution of the image
            kernels = figure3.gather(net)
        try:
            cache = report_images.cache_of(request, net, given)
            if info.fingerprint not in ("", cache.info.fingerprint):
                problems.append(
                    "the network was trained on other images: this split may contain some of them"
                )
            tested = report_images.test(request, net, cache)
        except (NoImages, NoTestSplit) as error:
            problems.append(f"{error}; without images there is no test, no figure 4 and no mistakes")
        except RunError as error:
            problems.append(str(error))
    for line in problems:
        warn(line)
    step, epoch = log.last
    # A cosine reduces the learning rate at each update.
    reductions = log.reductions() if config.schedule.name != "cosine" else []
    total = config.num_steps
    if log.steps_per_epoch:
        total = total_steps(config, log.steps_per_epoch)
    return Facts(
        request=request,
        name=path.name,
        data=info,
        net=_sentence(config),
        epoch=epoch,
        epochs=total / log.steps_per_epoch if total and log.steps_per_epoch else None,
        steps=(step, total),
        ended=(total is not None and step >= total) or plateau.ended(config.schedule),
        training_error=log.train[-1]["top1_error"] if log.train else None,
        last=log.evaluations[-1] if log.evaluations else None,
        published=published.of_config(config),
        step=None if net is None else net.step,
        problems=tuple(problems),
        changed=[
            (key, words(new), words(old))
            for key, old, new in saved.changes(base(), config)
            if not key.startswith("net.layers")
        ],
        settings=[(key, words(value)) for key, value in sorted(saved.settings(config).items())],
        reductions=reductions,
        charts=_charts(log, reductions),
        layer_charts=_layer_charts(log, reductions),
        goodput=_goodput(seconds),
        layers=_layers(config),
        figure3=kernels,
        tested=tested,
    )


def _charts(log: Metrics, reductions: Sequence[tuple[float, float]]) -> list[Chart]:
    """Draw loss, errors and images/s, and the model FLOP utilization if it is known."""
    if not log.train:
        return []
    train = log.train
    epochs = _column(train, "epoch")
    split = log.evaluations[-1]["split"] if log.evaluations else ""
    tested = [line for line in log.evaluations if line["split"] == split]
    at = _column(tested, "epoch")
    loss = [Series("training", epochs, _column(train, "loss"), 0, thin=True)]
    errors = [Series("training", epochs, _column(train, "top1_error"), 0, thin=True)]
    if tested:
        loss.append(Series(split, at, _column(tested, "loss"), 1, points=True))
        errors.append(Series(split, at, _column(tested, "top1_error"), 1, points=True))
        errors.append(Series(f"{split}, top 5", at, _column(tested, "top5_error"), 2, points=True))
    speed = [Series("images/s", epochs, _column(train, "images_per_second"), 0, thin=True)]
    charts = [
        curves("loss", "Loss, nats", loss, reductions),
        curves("errors", "Error, top 1 and top 5", errors, reductions, percent=True),
        curves("speed", "Images per second, without evaluation", speed),
    ]
    if known := [(line["epoch"], mfu) for line in train if (mfu := line.get("mfu")) is not None]:
        achieved = [Series("MFU", [at for at, _ in known], [mfu for _, mfu in known], 0, thin=True)]
        charts.append(curves("mfu", "Model FLOP utilization", achieved, percent=True))
    return charts


def _layer_charts(log: Metrics, reductions: Sequence[tuple[float, float]]) -> list[Chart]:
    """Draw mean |w| and mean |step| of each layer."""
    per_epoch = log.steps_per_epoch
    if not (log.layers and per_epoch):
        return []
    names = log.layers[-1]["layers"].keys()
    lines = [line for line in log.layers if line["layers"].keys() == names]
    at = [line["step"] / per_epoch for line in lines]

    def of_each(what: str) -> list[Series]:
        return [
            Series(name, at, [line["layers"][name][what] for line in lines], i, points=True)
            for i, name in enumerate(names)
        ]

    return [
        curves("weights", "Mean |w| of each layer", of_each("weights"), log=True),
        curves("steps", "Mean |step| of each layer", of_each("steps"), reductions, log=True),
    ]


def _goodput(seconds: Mapping[goodput.Kind, float]) -> list[tuple[str, str, str]]:
    """Return the rows of the table of times; none without times."""
    total = sum(seconds.values())
    shares = [(goodput.WORDS[kind], share) for kind, share in goodput.shares(seconds)]
    rows = [*shares, ("in all", 1.0)] if total else []
    return [
        (what, f"{100 * share:.1f}\N{NO-BREAK SPACE}%", time_in_words(share * total)) for what, share in rows
    ]


def _column(lines: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    return [line[key] for line in lines]


def _sentence(config: ConfigDict) -> str:
    shapes = config_shapes(config)
    count = sum(layer.size for layer in shapes)
    learned = sum(bool(layer.params) for layer in shapes)
    towers = config.net.towers
    return f"{learned} layers with weights in {towers} tower{'s' * (towers > 1)}, {count:,} parameters"


def _layers(config: ConfigDict) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("layer", "kind", "output of a tower", "reads", "kernels", "parameters")]
    count = 0
    for layer in config_shapes(config):
        kernel = next(iter(layer.params.values()), ())
        count += layer.size
        rows.append(
            (
                layer.layer.name,
                type(layer.layer).__name__,
                " x ".join(map(str, layer.outputs)),
                "all towers" if layer.reads_all_towers else "the image" if layer.shared and kernel else "",
                " x ".join(map(str, kernel)),
                f"{layer.size:,}" if layer.size else "",
            )
        )
    return [*rows, ("in all", "", "", "", "", f"{count:,}, {size_in_words(4 * count)}")]


def _command(verb: str, *arguments: str) -> str:
    return shlex.join(["alexnet-jax", verb, *arguments])


def _every(config: ConfigDict) -> str:
    if config.checkpoint_every:
        return f"{config.checkpoint_every} steps"
    return f"{config.checkpoint_every_epochs:g} epochs"


def words(value: Any) -> str:
    """Return the value of a setting as a command line takes it."""
    return str(tuple(value)) if isinstance(value, list) else str(value)
