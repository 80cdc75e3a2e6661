"""The verbs of the command line and their flags. Each verb imports slow modules only when it runs."""

import io
import sys
import textwrap
from collections.abc import Callable
from types import FrameType

from absl import flags

from alexnet_jax import files
from alexnet_jax.cli.flags import (
    check_data,
    check_file,
    check_views,
    check_workdirs,
    config_flag,
    config_of,
    json_flag,
    parse,
    required,
    split_flag,
    step_flag,
    views_flag,
    workdir_flag,
    writing,
)
from alexnet_jax.config.overrides import data_location
from alexnet_jax.config.recipe import recipes
from alexnet_jax.errors import NOTE, Interrupted, RunError, UserError
from alexnet_jax.remote.paths import on_disk
from alexnet_jax.runtime import launchers, progress
from alexnet_jax.text import ranges

USAGE = """\
usage: alexnet-jax VERB [--flag=value ...]

  train     --config=RECIPE[:VARIANT,...] --workdir=DIR [--dry_run] [--config.KEY=VALUE ...]
            trains, or resumes from the last checkpoint in the workdir; --dry_run only prints
            the mesh, and the shapes, the devices and the bytes of each layer
  evaluate  --workdir=DIR [--workdir=DIR ...] [--split=test] [--views=1|10]
            [--step=last|best|N] [--json=FILE]
            [--config.data.cache_dir=DIR] [--config.data.source=SOURCE]
            prints the error rates of a network, or of several with averaged probabilities
  predict   --workdir=DIR PATH... [--views=1|10] [--step=last|best|N] [--json=FILE] [--save=FILE.png]
            prints the five most probable classes of image files, and of all images in folders
  prepare   --config=RECIPE[:VARIANT,...] [--force] [--publish=DIR] [--config.data.KEY=VALUE ...]
            builds the cache that training reads, or checks every byte of an existing one; --publish
            copies it to a bucket or a shared folder; other hosts use it with --config.data.cache_from
  sweep     --config=RECIPE[:VARIANT,...] --workdir=DIR [--index=N] [--dry_run] [--arrays]
            [--config.KEY=VALUE ...]
            trains, tests and compares the networks of the recipe's sweep(); --index runs only one
  report    --workdir=DIR [--save=FILE.html] [--step=last|best|N] [--split=test] [--views=1|10]
            [--config.data.cache_dir=DIR ...] [--figure=1|3|4 --save=FILE.png] [--tables]
            writes a page about a run or a sweep, or one of the paper's figures; --tables prints
            the paper's tables
  plan      --config=RECIPE[:VARIANT,...] --topology=v5e:2x4 [--compare] [--json=FILE]
            [--config.KEY=VALUE ...]
            compiles the step for other hardware; prints memory, FLOPs, communication and time
  recipes   lists the recipes of the package and their variants

RECIPE is a name that alexnet-jax recipes lists, or a file: FILE.py.

alexnet-jax VERB --help lists the flags and the settings of a verb."""


def _train(args: list[str]) -> None:
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


def _prepare(args: list[str]) -> None:
    def define(values: flags.FlagValues) -> None:
        flags.DEFINE_bool("force", False, "Rebuild the cache if it exists.", flag_values=values)
        text = (
            "Bucket or shared folder to copy the cache to. Other hosts read it with --config.data.cache_from."
        )
        flags.DEFINE_string("publish", None, text, flag_values=values)

    values, overrides, _ = parse("prepare", args, USAGE, config_flag, define, overrides=True)
    config = config_of(values, overrides)

    from alexnet_jax.loops.prepare import prepare
    from alexnet_jax.runtime import stopping

    with stopping.handled(_stop_preparing):
        cache = prepare(config, values.force, publish=values.publish)
    path, info = cache.directory, cache.info
    sizes = ", ".join(f"{name} {count:,}" for name, count in info.splits.items())
    height, width = info.image_size
    progress.show(
        f"{path}: {sizes} images of {height}x{width}, {info.encoding}, {len(info.class_names)} classes"
    )


def _stop_preparing(signum: int, frame: FrameType | None) -> None:
    raise Interrupted(signum, "what is prepared so far is kept")


def _evaluate(args: list[str]) -> None:
    def define(values: flags.FlagValues) -> None:
        text = "Directory of a run. Repeat the flag for an ensemble."
        flags.DEFINE_multi_string("workdir", [], text, flag_values=values)

    own = (define, split_flag, views_flag, step_flag, json_flag)
    values, overrides, _ = parse("evaluate", args, USAGE, *own, overrides=True)
    workdirs = required(values.workdir, "--workdir=DIR")
    check_workdirs(*workdirs)
    check_views(values.views)
    check_file("--json", values.json)

    from alexnet_jax.training.workdir import read_workdir

    config, _ = read_workdir(workdirs[0])
    data = data_location("evaluate", config, overrides)
    if "cache_from" in data:
        config.data.update(data)
        check_data(config.data)
    progress.starting(progress.say)

    from alexnet_jax.loops.evaluate import evaluate
    from alexnet_jax.parallel import hosts

    hosts.start()
    result = evaluate(workdirs, values.split, values.views, values.step, data)
    if hosts.is_first():
        if values.json:
            with writing("--json", values.json):
                files.write_json(values.json, result.to_json())
        progress.show(str(result))


def _plan(args: list[str]) -> None:
    def define(values: flags.FlagValues) -> None:
        text = "Devices, such as v5e:16x16, v5p:4x4x8, h100:8 or cpu:8."
        flags.DEFINE_string("topology", None, text, flag_values=values)
        flags.DEFINE_bool("compare", False, "Compare all meshes and parallelisms.", flag_values=values)

    values, overrides, _ = parse("plan", args, USAGE, config_flag, define, json_flag, overrides=True)
    config = config_of(values, overrides)
    topology = required(values.topology, "--topology=SLICE (v5e:2x4, v5p:4x4x8, h100:8, cpu:8 ...)")
    check_file("--json", values.json)

    from alexnet_jax.parallel.mesh import mesh_for
    from alexnet_jax.plan import chips, plan
    from alexnet_jax.plan import tables as plan_tables
    from alexnet_jax.training.run import settled

    config = settled(config)
    devices, chip = chips.devices_of(topology), chips.chip_of(topology)
    if values.compare:
        plans = plan.compare(config, topology, chip, devices)
        best = plan.best_of(plans)
        progress.show(plan_tables.comparison(plans))
        record = {"plans": [p.to_json() for p in plans], "best": None if best is None else plans.index(best)}
    else:
        mesh, why = mesh_for(config, devices)
        if mesh.size < len(devices):
            raise UserError(
                f"config.mesh = {tuple(config.mesh)} uses {mesh.size} of {topology}'s {len(devices)}"
                " devices: set --config.mesh='(-1, -1)', or use a smaller topology"
            )
        found = plan.plan(config, topology, chip, mesh)
        progress.show(f"{why}\n{plan_tables.table(found)}")
        record = found.to_json()
    if values.json:
        with writing("--json", values.json):
            files.write_json(values.json, record)


def _sweep(args: list[str]) -> int:
    def define(values: flags.FlagValues) -> None:
        flags.DEFINE_integer(
            "index", None, "The only task to run or list, for array jobs.", flag_values=values
        )
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
            progress.show(f"{number}  {state}  {sweep_run.command_line(verb, arguments)}")
        return 0
    sweep_run.begin(path, sweep, workdir, overrides)
    table = sweep_run.run(tasks, values.index, sweep, workdir, progress.say)
    progress.show(f"{table.text()}\nwritten to {workdir / 'table.md'} and table.json")
    if values.index is not None:  # a job of an array returns the status of its task
        return 0 if sweep_tasks.is_done(tasks[values.index]) else RunError.status
    return RunError.status if table.failures else 0


def _report(args: list[str]) -> int:
    def define(values: flags.FlagValues) -> None:
        flags.DEFINE_string("save", None, "File; by default WORKDIR/report.html.", flag_values=values)
        flags.DEFINE_integer("figure", None, "Draw only figure 1 (of a sweep), 3 or 4.", flag_values=values)
        flags.DEFINE_bool("tables", False, "Print the paper's tables, of sweeps.", flag_values=values)

    own = (workdir_flag, define, step_flag, split_flag, views_flag)
    values, overrides, _ = parse("report", args, USAGE, *own, overrides=True)
    workdir = required(values.workdir, "--workdir=DIR")
    check_workdirs(workdir)
    check_views(values.views)
    others = ("figure", "save", "step", "split", "views")
    if values.tables and (overrides or any(values[name].present for name in others)):
        raise UserError("--tables takes only --workdir: remove the other flags")
    if values.tables:
        from alexnet_jax.paper import tables as paper_tables

        progress.show(paper_tables.text(files.absolute(workdir)))
        return 0

    from alexnet_jax.report.request import Request, check

    check(workdir, values.figure, values.save, overrides)
    save = values.save or f"{workdir.rstrip('/')}/report.html"
    check_file("--save", save)
    request = Request(workdir, values.step, values.split, values.views, tuple(overrides))
    progress.starting(progress.note)

    from alexnet_jax.report import page as report

    problems: list[str] = []
    if values.figure is None:
        progress.show(report.page(request, save, problems.append))
    else:
        progress.show("\n".join(report.figure(values.figure, request, save)))
    for line in problems:
        progress.complain(line)
    return UserError.status if problems else 0


def _predict(args: list[str]) -> int:
    def define(values: flags.FlagValues) -> None:
        flags.DEFINE_string("save", None, "PNG file for the images and bars.", flag_values=values)

    own = (workdir_flag, views_flag, step_flag, json_flag, define)
    values, _, paths = parse("predict", args, USAGE, *own, paths=True)
    paths = [files.expanded(path) for path in paths]
    workdir = required(values.workdir, "--workdir=DIR")
    check_workdirs(workdir)
    required(paths and all(paths), "PATH of an image or a folder of images")
    for path in paths:
        on_disk(path, "the image", "copy it there first")
    check_views(values.views)
    check_file("--json", values.json)
    check_file("--save", values.save)
    if values.save and not values.save.lower().endswith(".png"):
        raise UserError(f"--save={values.save} must end in .png")

    from alexnet_jax.training.workdir import read_workdir

    read_workdir(workdir)
    progress.starting(progress.note)

    from alexnet_jax.loops.predict import Prediction, predict
    from alexnet_jax.paper.figure4 import MOST_IN_A_PICTURE
    from alexnet_jax.training.restored import restore

    left_out = 0

    def complain(line: str) -> None:
        nonlocal left_out
        left_out += 1
        progress.complain(line)

    progress.note(progress.reading(workdir, values.step))
    records: list[dict[str, object]] = []
    drawn: list[Prediction] = []
    count = 0
    for prediction in predict(restore(workdir, values.step), paths, values.views, complain):
        progress.show(prediction.text(bars=sys.stdout.isatty()))
        if values.json:
            records.append(prediction.to_json())
        if values.save and len(drawn) < MOST_IN_A_PICTURE:
            drawn.append(prediction)
        count += 1
    if values.json:
        with writing("--json", values.json):
            files.write_json(values.json, records)
    if drawn:
        from alexnet_jax.paper import fonts
        from alexnet_jax.paper.figure4 import draw_predictions

        picture = io.BytesIO()
        with fonts.for_any_script():
            draw_predictions(drawn).savefig(picture, format="png", dpi=120)
        with writing("--save", values.save):
            files.write(files.absolute(values.save), picture.getvalue())
        if len(drawn) < count:
            progress.note(f"{NOTE}{values.save} shows the first {len(drawn)} of {count} images")
    return UserError.status if left_out else 0


def _recipes(args: list[str]) -> None:
    parse("recipes", args, USAGE)

    found, lines = recipes(), []
    for verb, head in (
        ("train", "for train, prepare and plan: --config=RECIPE[:VARIANT,...]"),
        ("sweep", "for sweep: --config=RECIPE[:SWEEP]"),
    ):
        lines.append(head)
        for recipe in (each for each in found if each.verb == verb):
            lines.append(f"  {recipe.name:10} {recipe.summary}")
            names = textwrap.wrap(", ".join(recipe.variants), 95, break_on_hyphens=False)
            lines += [f"{'':13}{line}" for line in names]
    progress.show("\n".join(lines))


VERBS: dict[str, Callable[[list[str]], int | None]] = {
    "train": _train,
    "evaluate": _evaluate,
    "predict": _predict,
    "prepare": _prepare,
    "plan": _plan,
    "sweep": _sweep,
    "report": _report,
    "recipes": _recipes,
}
