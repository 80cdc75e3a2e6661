"""alexnet-jax sweep."""

from absl import flags

from alexnet_jax import files
from alexnet_jax.cli.flags import (
    check_workdirs,
    config_flag,
    parse,
    required,
    workdir_flag,
)
from alexnet_jax.errors import RunError, UserError
from alexnet_jax.runtime import launchers, progress
from alexnet_jax.text import ranges

USAGE = """\
--config=RECIPE[:VARIANT,...] --workdir=DIR [--index=N] [--at_once=N] [--dry_run] [--arrays]
[--config.KEY=VALUE ...]
trains, tests and compares the networks of the recipe's sweep(); --index runs only one"""


def run(args: list[str]) -> int:
    """Train, test and compare the networks of a sweep."""

    def define(values: flags.FlagValues) -> None:
        flags.DEFINE_integer(
            "index", None, "The only task to run or list, for array jobs.", flag_values=values
        )
        text = "Largest number of tasks at a time; by default as many as there are cores, GPUs or TPU chips."
        flags.DEFINE_integer("at_once", None, text, lower_bound=1, flag_values=values)
        flags.DEFINE_bool("dry_run", False, "List the tasks and their states.", flag_values=values)
        text = (
            "Print the indices of the tasks that are not done, one line for each job array. An array may"
            " start when the arrays of the lines above it have ended."
        )
        flags.DEFINE_bool("arrays", False, text, flag_values=values)

    values, overrides, _ = parse("sweep", args, USAGE, config_flag, workdir_flag, define, overrides=True)
    path = required(values.config, "--config=RECIPE")
    if launchers.is_one_of_several():
        raise UserError(
            "a sweep runs as one process: start jobs with --index=N, or the commands that --dry_run lists"
        )

    if values.arrays and (values.dry_run or values.index is not None):
        raise UserError("--arrays lists all tasks: remove --dry_run and --index")
    lists = values.dry_run or values.arrays
    check_workdirs(required(values.workdir, "--workdir=DIR"), writes=not lists)
    if not lists:
        progress.say(f"reading the sweep {path}")

    from alexnet_jax.sweep import run as sweep_run
    from alexnet_jax.sweep import spec as sweep_spec
    from alexnet_jax.sweep import tasks as sweep_tasks
    from alexnet_jax.sweep.directory import refuse_another
    from alexnet_jax.sweep.processes import command_line

    sweep = sweep_spec.load(path)
    workdir = files.absolute(values.workdir)
    tasks = sweep_tasks.tasks(path, sweep, workdir, overrides)
    if values.index is not None and not 0 <= values.index < len(tasks):
        raise UserError(f"--index is {values.index}, but must be between 0 and {len(tasks) - 1}")
    if lists:
        refuse_another(path, overrides, workdir)
    if values.arrays:
        for wave in sweep_tasks.waves(tasks):
            progress.show(ranges(wave))
        return 0
    if values.dry_run:
        for number in range(len(tasks)) if values.index is None else [values.index]:
            task = tasks[number]
            verb, arguments = ("train", task.train) if task.train else ("evaluate", task.evaluate)
            done, other = sweep_tasks.is_done(task), sweep_tasks.obstacle(task)
            state = "done" if done else "holds another network" if other else "to do"
            progress.show(f"{number}  {state}  {command_line(verb, arguments)}")
        return 0
    sweep_run.begin(path, sweep, workdir, overrides)
    table = sweep_run.run(tasks, values.index, values.at_once, sweep, workdir, progress.say)
    progress.show(f"{table.text()}\nwritten to {workdir / 'table.md'} and table.json")
    if values.index is not None:  # a job of an array returns the status of its task
        return 0 if sweep_tasks.is_done(tasks[values.index]) else RunError.status
    return RunError.status if table.failures else 0
