"""alexnet-jax export."""

from absl import flags

from alexnet_jax.cli.flags import (
    check_file,
    check_workdirs,
    parse,
    required,
    step_flag,
    workdir_flag,
    writing,
)
from alexnet_jax.runtime import progress

USAGE = """\
--to=safetensors|torch|onnx|stablehlo --workdir=DIR --save=FILE
[--step=last|best|N] [--preprocessing]
writes a network in the format of another framework"""


def run(args: list[str]) -> None:
    """Write a network in the format of another framework."""

    def define(values: flags.FlagValues) -> None:
        formats = "Format: safetensors, torch, onnx or stablehlo."
        flags.DEFINE_string("to", None, formats, flag_values=values)
        flags.DEFINE_string("save", None, "File for the network.", flag_values=values)
        takes = "Take uint8 images of data.image_size: crop them and subtract the mean in the program."
        flags.DEFINE_bool("preprocessing", False, takes, flag_values=values)

    values, _, _ = parse("export", args, USAGE, define, workdir_flag, step_flag)
    to = required(values.to, "--to=FORMAT")
    workdir = required(values.workdir, "--workdir=DIR")
    save = required(values.save, "--save=FILE")
    check_workdirs(workdir)

    from alexnet_jax.training.workdir import read_workdir
    from alexnet_jax.weights import request

    _, *beside = request.paths(to, save)
    check_file("--save", save)
    for path in beside:
        check_file("--save", str(path))
    request.check(to, read_workdir(workdir)[0])
    progress.starting(progress.note)

    from alexnet_jax.training.restored import restore
    from alexnet_jax.weights.export import export

    progress.note(progress.reading(workdir, values.step))
    net = restore(workdir, values.step)
    with writing("--save", save):
        done = export(net, to, save, preprocessing=values.preprocessing)
    progress.show(str(done))
