"""alexnet-jax features."""

from types import FrameType

from absl import flags

from alexnet_jax import files
from alexnet_jax.cli.flags import (
    check_file,
    check_views,
    check_workdirs,
    layer_flag,
    located,
    parse,
    required,
    step_flag,
    views_flag,
    workdir_flag,
    writing,
)
from alexnet_jax.errors import Interrupted, UserError
from alexnet_jax.layers import position
from alexnet_jax.remote.paths import on_disk
from alexnet_jax.runtime import progress

USAGE = """\
--workdir=DIR PATH... --save=FILE.npy|FILE.parquet [--layer=fc7] [--views=1|10]
[--step=last|best|N]; or --split=train instead of PATH...
[--config.data.cache_dir=DIR] [--config.data.source=SOURCE]
writes the activations of a layer for image files and folders, or for a split of a data set;
the same command resumes after any interruption"""


def run(args: list[str]) -> int:
    """Write the activations of a layer to a file."""

    def define(values: flags.FlagValues) -> None:
        text = "File for the features: .npy, with a JSON file beside it, or .parquet."
        flags.DEFINE_string("save", None, text, flag_values=values)
        text = "Split of a data set, instead of PATH: train, validation or test."
        flags.DEFINE_string("split", None, text, flag_values=values)

    own = (workdir_flag, layer_flag, views_flag, step_flag, define)
    values, overrides, paths = parse("features", args, USAGE, *own, overrides=True, paths=True)
    paths = [files.expanded(path) for path in paths]
    workdir = required(values.workdir, "--workdir=DIR")
    check_workdirs(workdir)
    if values.split is None:
        required(paths and all(paths), "PATH of an image or a folder of images, or --split=SPLIT,")
        if overrides:
            raise UserError(f"{overrides[0]} locates the images of a split: add --split=SPLIT, or remove it")
    elif paths:
        raise UserError(f"features takes PATH or --split, not both: remove {paths[0]!r} or --split")
    for path in paths:
        on_disk(path, "the image", "copy it there first")
    check_views(values.views)
    save = required(values.save, "--save=FILE.npy or --save=FILE.parquet")

    from alexnet_jax.loops.feature_file import check_path
    from alexnet_jax.training.workdir import read_workdir

    check_path(save)
    check_file("--save", save)
    config, _ = read_workdir(workdir)
    if values.layer is not None:
        position(config.net.layers, values.layer)
    data = located("features", config, overrides)
    progress.starting(progress.say)

    from alexnet_jax.loops.features import features
    from alexnet_jax.parallel.mesh import data_mesh
    from alexnet_jax.runtime import stopping
    from alexnet_jax.training.restored import restore

    progress.say(progress.reading(workdir, values.step))
    net = restore(workdir, values.step, data_mesh())
    with stopping.handled(_stop), writing("--save", save):
        found = features(net, save, paths or None, values.split, values.layer, values.views, data)
    speed = f", {found.images_per_second:,.1f} images/s" if found.images_per_second else ""
    progress.show(f"{save}: float32 of shape {found.shape}{speed}")
    return UserError.status if found.left_out else 0


def _stop(signum: int, frame: FrameType | None) -> None:
    raise Interrupted(signum, "the features computed so far are kept")
