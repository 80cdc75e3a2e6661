"""alexnet-jax import."""

import os
import shlex
from typing import Any

from absl import flags

from alexnet_jax import files
from alexnet_jax.cli.flags import check_workdirs, parse, required, workdir_flag
from alexnet_jax.errors import UserError
from alexnet_jax.remote.paths import on_disk
from alexnet_jax.runtime import progress

USAGE = """\
--from=torchvision|caffe --weights=FILE --workdir=DIR [--mean=FILE] [--classes=FILE]
writes a workdir with the weights of torchvision's alexnet, BVLC's AlexNet or CaffeNet"""


def run(args: list[str]) -> None:
    """Write a workdir with the weights of another framework."""

    def define(values: flags.FlagValues) -> None:
        text = "Framework: torchvision or caffe."
        flags.DEFINE_enum("from", None, ["torchvision", "caffe"], text, flag_values=values)
        text = "Weights: a state dict (.pth or .safetensors), or a .caffemodel."
        flags.DEFINE_string("weights", None, text, flag_values=values)
        text = "Mean image of Caffe (.binaryproto); by default ImageNet's mean of each channel."
        flags.DEFINE_string("mean", None, text, flag_values=values)
        text = "Names of the classes, one on each line; by default ImageNet's 1,000 classes."
        flags.DEFINE_string("classes", None, text, flag_values=values)

    values, _, _ = parse("import", args, USAGE, workdir_flag, define)
    framework = required(values["from"].value, "--from=torchvision or --from=caffe")
    required(values.weights, "--weights=FILE")
    workdir = required(values.workdir, "--workdir=DIR")
    weights, mean, classes = (_file(name, values[name].value) for name in ("weights", "mean", "classes"))
    check_workdirs(workdir, writes=True)
    progress.starting(progress.say)

    from alexnet_jax.weights.imported import import_weights

    what = import_weights(framework, weights, workdir, mean, classes)
    command = f"alexnet-jax predict {shlex.quote(f'--workdir={workdir}')} PATH"
    progress.show(f"imported {what}; classify images with: {command}")


def _file(name: str, path: str | None) -> Any:
    """Return the path of a flag's file, which must exist; None if the flag is not given."""
    if path is None:
        return None
    on_disk(path, f"--{name}", "copy it there first")
    if not os.path.isfile(files.expanded(path)):  # noqa: PTH113 (which has no error for any name)
        raise UserError(f"--{name}={path} is not a file: name one that exists")
    return files.expanded(path)
