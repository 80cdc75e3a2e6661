"""alexnet-jax probe."""

from typing import Literal

from absl import flags

from alexnet_jax import files
from alexnet_jax.cli.flags import (
    check_file,
    check_views,
    check_workdirs,
    json_flag,
    layer_flag,
    located,
    parse,
    required,
    step_flag,
    views_flag,
    workdir_flag,
    writing,
)
from alexnet_jax.errors import UserError
from alexnet_jax.layers import position
from alexnet_jax.runtime import progress

USAGE = """\
--workdir=DIR [--layer=fc7] [--config.data.source=SOURCE] [--config.data.cache_dir=DIR]
[--train_per_class=30] [--splits=5|own] [--seed=0] [--baselines]
[--views=1|10] [--step=last|best|N] [--json=FILE]
trains a linear classifier on the features of a layer, and prints its accuracy on other
images: how well the features transfer to a data set"""


def run(args: list[str]) -> None:
    """Train and test a linear classifier on the features of a layer."""

    def define(values: flags.FlagValues) -> None:
        text = "Images of each class for training; all others are for the test."
        flags.DEFINE_integer("train_per_class", 30, text, lower_bound=2, flag_values=values)
        text = "Number of random splits; or own: the data's training and test split."
        flags.DEFINE_string("splits", "5", text, flag_values=values)
        text = "Seed of the random splits and of the random weights."
        flags.DEFINE_integer("seed", 0, text, lower_bound=0, upper_bound=2**31 - 1, flag_values=values)
        text = "Do the same with random weights, and with the pixels at 32x32."
        flags.DEFINE_bool("baselines", False, text, flag_values=values)

    own = (workdir_flag, layer_flag, views_flag, step_flag, define, json_flag)
    values, overrides, _ = parse("probe", args, USAGE, *own, overrides=True)
    workdir = required(values.workdir, "--workdir=DIR")
    check_workdirs(workdir)
    check_views(values.views)
    splits = _splits(values.splits)
    if splits == "own" and values["train_per_class"].present:
        raise UserError("--train_per_class is for random splits: remove it, or --splits=own")
    check_file("--json", values.json)

    from alexnet_jax.training.workdir import read_workdir

    config, _ = read_workdir(workdir)
    if values.layer is not None:
        position(config.net.layers, values.layer)
    data = located("probe", config, overrides)
    progress.starting(progress.say)

    from alexnet_jax.loops.probe import probe
    from alexnet_jax.parallel.mesh import data_mesh
    from alexnet_jax.training.restored import restore

    progress.say(progress.reading(workdir, values.step))
    found = probe(
        restore(workdir, values.step, data_mesh()), values.layer, values.views, data,
        values.train_per_class, splits, values.seed, values.baselines,
    )  # fmt: skip
    if values.json:
        with writing("--json", values.json):
            files.write_json(values.json, found.to_json())
    speed = f"; {found.images_per_second:,.1f} images/s" if found.images_per_second else ""
    progress.show(
        f"{found.source}: {found.classes} classes, {found.train:,} images for training and {found.test:,} for"
        f" the test{speed}\n{found}"
    )


def _splits(text: str) -> int | Literal["own"]:
    """Return the value of ``--splits``."""
    if text == "own":
        return "own"
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 1000):
        raise UserError(f"--splits is {text}, but must be a number from 1 to 1000, or own")
    return int(text)
