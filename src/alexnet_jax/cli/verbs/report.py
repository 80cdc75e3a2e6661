"""alexnet-jax report."""

from absl import flags

from alexnet_jax import files
from alexnet_jax.cli.flags import (
    check_file,
    check_views,
    check_workdirs,
    parse,
    required,
    split_flag,
    step_flag,
    views_flag,
    workdir_flag,
)
from alexnet_jax.errors import UserError
from alexnet_jax.runtime import progress

USAGE = """\
--workdir=DIR [--save=FILE.html] [--step=last|best|N] [--split=test] [--views=1|10]
[--config.data.cache_dir=DIR ...] [--figure=1|3|4 --save=FILE.png] [--tables]
writes a page about a run or a sweep, or one of the paper's figures; --tables prints
the paper's tables"""


def run(args: list[str]) -> int:
    """Write a page about a run or a sweep, one of the paper's figures, or the paper's tables."""

    def define(values: flags.FlagValues) -> None:
        flags.DEFINE_string("save", None, "File; by default WORKDIR/report.html.", flag_values=values)
        flags.DEFINE_integer("figure", None, "Draw only figure 1 (of a sweep), 3 or 4.", flag_values=values)
        flags.DEFINE_bool("tables", False, "Print the paper's tables, of sweeps.", flag_values=values)

    own = (workdir_flag, define, step_flag, split_flag, views_flag)
    values, overrides, _ = parse("report", args, USAGE, *own, overrides=True)
    workdir = required(values.workdir, "--workdir=DIR")
    check_workdirs(workdir)
    check_views(values.views)
    given = [f"--{name}" for name in ("step", "split", "views") if values[name].present] + overrides
    if values.tables and (given or values["figure"].present or values["save"].present):
        raise UserError("--tables takes only --workdir: remove the other flags")
    if values.tables:
        from alexnet_jax.paper import tables as paper_tables

        progress.show(paper_tables.text(files.absolute(workdir)))
        return 0

    from alexnet_jax.report.request import Request, check

    check(workdir, values.figure, values.save, given)
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
