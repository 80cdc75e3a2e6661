"""alexnet-jax train."""

from absl import flags

from alexnet_jax.cli.flags import (
    check_workdirs,
    config_flag,
    config_of,
    parse,
    required,
    workdir_flag,
)

USAGE = """\
--config=RECIPE[:VARIANT,...] --workdir=DIR [--dry_run] [--config.KEY=VALUE ...]
trains, or resumes from the last checkpoint in the workdir; --dry_run only prints
the mesh, and the shapes, the devices and the bytes of each layer"""


def run(args: list[str]) -> None:
    """Train a network, or print its layers."""

    def define(values: flags.FlagValues) -> None:
        flags.DEFINE_bool("dry_run", False, "Print the mesh and the layers, and stop.", flag_values=values)

    values, overrides, _ = parse("train", args, USAGE, config_flag, workdir_flag, define, overrides=True)
    config = config_of(values, overrides)
    workdir = values.workdir if values.dry_run else required(values.workdir, "--workdir=DIR")
    if not values.dry_run:
        check_workdirs(workdir, writes=True)

    from alexnet_jax.loops.train import train
    from alexnet_jax.parallel import hosts
    from alexnet_jax.training.run import describe, settled

    hosts.start()
    if values.dry_run:
        _, _, text = describe(settled(config))
        for line in text.splitlines():
            hosts.say(line)
    else:
        train(config, workdir)
