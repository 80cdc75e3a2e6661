"""alexnet-jax evaluate."""

from absl import flags

from alexnet_jax import files
from alexnet_jax.cli.flags import (
    check_file,
    check_views,
    check_workdirs,
    json_flag,
    located,
    parse,
    required,
    split_flag,
    step_flag,
    views_flag,
    writing,
)
from alexnet_jax.config.overrides import override
from alexnet_jax.runtime import progress

USAGE = """\
--workdir=DIR [--workdir=DIR ...] [--split=test] [--views=1|10]
[--step=last|best|N] [--json=FILE]
[--config.data.cache_dir=DIR] [--config.data.source=SOURCE]
[--config.step_timeout_minutes=30]
prints the error rates of a network, or of several with averaged probabilities"""

_LIMIT = "step_timeout_minutes"


def run(args: list[str]) -> None:
    """Measure the error rates of a network, or of several with averaged probabilities."""

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
    data = located("evaluate", config, overrides, [_LIMIT])
    config = override(config, [word for word in overrides if word.startswith(f"--config.{_LIMIT}=")])
    progress.starting(progress.say)

    from alexnet_jax.loops.evaluate import evaluate
    from alexnet_jax.parallel import hosts, watchdog

    hosts.start()
    with watchdog.watching(config[_LIMIT]):
        result = evaluate(workdirs, values.split, values.views, values.step, data)
    if hosts.is_first():
        if values.json:
            with writing("--json", values.json):
                files.write_json(values.json, result.to_json())
        progress.show(str(result))
