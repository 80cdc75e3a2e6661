"""The command line: ``alexnet-jax VERB``. Verbs import what they need when they run."""

import ast
import contextlib
import dataclasses
import functools
import json
import os
import shlex
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from absl import flags, logging
from ml_collections import ConfigDict, config_flags

from alexnet_jax import config as config_lib
from alexnet_jax.errors import Interrupted, RunError, UserError

_USAGE = """\
usage: alexnet-jax VERB [--flag=value ...]

  train     --config=FILE.py[:VARIANT,...] --workdir=DIR [--config.KEY=VALUE ...]
            trains; goes on by itself where the workdir holds a checkpoint; with --dry_run
            only tells the mesh, and each layer with its shapes, its place and its bytes
  evaluate  --workdir=DIR [--workdir=DIR ...] [--split=test] [--views=1|10] [--step=last|best|N]
            [--json=FILE] [--config.data.KEY=VALUE ...]
            error rates of a net, or of several whose probabilities are averaged
  prepare   --config=FILE.py[:VARIANT,...] [--config.data.KEY=VALUE ...]
            builds the cache that training reads
  plan      --config=FILE.py[:VARIANT,...] --topology=v5e:2x4 [--compare] [--json=FILE]
            [--config.KEY=VALUE ...]
            compiles the step for hardware that need not be there: memory, FLOPs, what crosses, time

alexnet-jax VERB --help lists the flags of a verb."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a verb; returns the exit status. An error a user can cause is one line on standard error."""
    args = list(sys.argv[1:] if argv is None else argv)
    logging.set_verbosity(logging.FATAL)  # the libraries' own warnings; ours are lines of the log
    try:
        if not args or args[0] in ("--help", "-h", "help"):
            print(_USAGE)
            return 0 if args else 2
        if args[0] not in _VERBS:
            raise UserError(
                f"no verb {args[0]}{config_lib.near(args[0], _VERBS)}; there are {', '.join(_VERBS)}"
            )
        _VERBS[args[0]](args[1:])
        return 0
    except (UserError, RunError) as error:
        status, message = error.status, str(error)
    except Interrupted as error:  # on all processes alike
        if _is_first():
            print(f"alexnet-jax: {error}; go on with: alexnet-jax {shlex.join(args)}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        status, message = 130, "stopped"
    except OSError as error:
        status, message = 1, f"{error.strerror or error}: {error.filename}"
    except SystemExit as done:  # --help
        return int(done.code or 0)
    except Exception as error:
        if not _several():
            raise
        status, message = 1, f"{type(error).__name__}: {error}"
        if "Gloo context initialization failed" in message:  # what can't be waited for longer
            message = f"another process did not come to an exchange within 30 s ({message[:200]})"
        elif "Gloo" in message:  # which a peer that is gone makes of any exchange
            message = f"another process is gone ({message[:200]}); start all again, and they go on"
        else:
            traceback.print_exc()
    print(f"alexnet-jax: {' '.join(message.split())}", file=sys.stderr)
    if _several():
        # At a usual exit JAX waits for every process to come to its end: the others would wait for us. The
        # first one, in which the coordinator lives, lets those that fail for the same reason go before it.
        sys.stderr.flush()
        time.sleep(2 if _is_first() else 0)
        os._exit(status)
    return status


def _several() -> bool:
    """Whether this is one of several processes."""
    jax = sys.modules.get("jax")  # not imported for what does without it
    return jax is not None and jax.distributed.is_initialized()


def _is_first() -> bool:
    return not _several() or sys.modules["jax"].process_index() == 0


def _train(args: list[str]) -> None:
    def define(values: flags.FlagValues) -> None:
        flags.DEFINE_string("workdir", None, "Where the run lies.", flag_values=values)
        flags.DEFINE_bool("dry_run", False, "Print the mesh and the layers, and stop.", flag_values=values)

    values, overrides = _parse("train", args, _config_flag, define)
    config = _override(config_lib.load(_required(values.config, "--config=FILE.py")), overrides)
    config_lib.validate(config)
    workdir = values.workdir if values.dry_run else _required(values.workdir, "--workdir=DIR")

    from alexnet_jax import hosts
    from alexnet_jax.train import describe, train

    hosts.start()
    if values.dry_run:
        describe(config)
    else:
        train(config, workdir)


def _prepare(args: list[str]) -> None:
    values, overrides = _parse("prepare", args, _config_flag)
    config = _override(config_lib.load(_required(values.config, "--config=FILE.py")), overrides)
    config_lib.validate(config)

    from alexnet_jax.cache import open_cache

    cache = open_cache(config.data, print)
    sizes = ", ".join(f"{name} {count}" for name, count in cache.info.splits.items())
    print(
        f"{cache.directory}: {sizes} images of {cache.info.image_size}, {len(cache.info.class_names)} classes"
    )


def _evaluate(args: list[str]) -> None:
    def define(values: flags.FlagValues) -> None:
        flags.DEFINE_multi_string("workdir", [], "A workdir; several make an ensemble.", flag_values=values)
        flags.DEFINE_string("split", None, "train, validation or test.", flag_values=values)
        flags.DEFINE_integer("views", 1, "1 or 10.", flag_values=values)
        flags.DEFINE_string("step", "last", "last, best or a number.", flag_values=values)
        flags.DEFINE_string("json", None, "A file for the result.", flag_values=values)

    values, overrides = _parse("evaluate", args, define)
    workdirs = _required(values.workdir, "--workdir=DIR")
    if values.views not in (1, 10):
        raise UserError(f"--views is {values.views}, but must be 1 or 10")

    import jax

    from alexnet_jax import hosts
    from alexnet_jax.cache import open_cache
    from alexnet_jax.evaluate import evaluate
    from alexnet_jax.mesh import make_mesh
    from alexnet_jax.workdir import read_workdir, restore

    _check_json(values.json)
    config, _ = read_workdir(workdirs[0])
    elsewhere = ("data.source", "data.cache_dir", "data.encoding")
    for key in (override.lstrip("-").removeprefix("config.").partition("=")[0] for override in overrides):
        if key not in elsewhere:
            raise UserError(f"config.{key} is the workdir's own; evaluate takes {', '.join(elsewhere)}")
    config = _override(config, overrides)
    config_lib.validate(config)
    hosts.start()
    mesh = make_mesh(jax.device_count(), 1)
    members = [restore(workdir, values.step, mesh) for workdir in workdirs]
    cache = open_cache(config.data, hosts.say)
    for workdir, member in zip(workdirs, members, strict=True):
        if member.data.class_names != cache.info.class_names:
            raise UserError(f"{workdir} was trained on other classes than {config.data.source} has")
        if member.data.image_size != cache.info.image_size:
            raise UserError(
                f"{workdir} takes images of {member.data.image_size}, not {cache.info.image_size}"
            )
    split = values.split or ("test" if "test" in cache.info.splits else "validation")
    if split not in cache.info.splits:
        raise UserError(f"--split is {split!r}; {config.data.source} has {', '.join(cache.info.splits)}")
    hosts.same(
        {"--workdir": workdirs, "--step": [member.step for member in members], "--split": split}
        | {"--views": values.views, "the data's fingerprint": cache.info.fingerprint}
    )
    for workdir, member in zip(workdirs, members, strict=True):
        if member.data.fingerprint != cache.info.fingerprint:
            hosts.say(f"note: this is not the data that {workdir} was trained on; its splits may overlap")
    result = evaluate(
        [partial(member.log_probabilities, views=values.views) for member in members],
        cache, split, values.views, config.batch_size, mesh,
    )  # fmt: skip
    hosts.say(
        f"{split}: {result.examples} examples, {values.views} view(s), {len(members)} net(s):"
        f" loss {result.loss:.4f}, top-1 error {result.top1_error:.2%}, top-5 error {result.top5_error:.2%}"
    )
    if values.json and hosts.is_first():
        checkpoints = [{"workdir": w, "step": m.step} for w, m in zip(workdirs, members, strict=True)]
        record = dataclasses.asdict(result) | {"checkpoints": checkpoints}
        Path(values.json).write_text(json.dumps(record, indent=1) + "\n")


def _plan(args: list[str]) -> None:
    def define(values: flags.FlagValues) -> None:
        flags.DEFINE_string("topology", None, "v5e:16x16, v5p:4x4x8, h100:8, cpu:8 ...", flag_values=values)
        flags.DEFINE_bool("compare", False, "Every mesh and strategy side by side.", flag_values=values)
        flags.DEFINE_string("json", None, "A file for the result.", flag_values=values)

    values, overrides = _parse("plan", args, _config_flag, define)
    config = _override(config_lib.load(_required(values.config, "--config=FILE.py")), overrides)
    config_lib.validate(config)
    topology = _required(values.topology, "--topology=SLICE (v5e:2x4, v5p:4x4x8, h100:8, cpu:8 ...)")
    _check_json(values.json)

    from alexnet_jax import chips, plan, plan_tables
    from alexnet_jax.mesh import mesh_for

    devices, chip = chips.devices_of(topology), chips.chip_of(topology)
    if values.compare:
        plans = plan.compare(config, topology, chip, devices)
        best = plan.best_of(plans)
        print(plan_tables.comparison(plans))
        record = {"plans": [p.to_json() for p in plans], "best": None if best is None else plans.index(best)}
    else:
        mesh, why = mesh_for(config, devices)
        if mesh.size < len(devices):
            raise UserError(
                f"config.mesh = {tuple(config.mesh)} takes {mesh.size} of {topology}'s {len(devices)}"
                " devices: take --config.mesh='(-1, -1)', or a smaller topology"
            )
        found = plan.plan(config, topology, chip, mesh)
        print(f"{why}\n{plan_tables.table(found)}")
        record = found.to_json()
    if values.json:
        Path(values.json).write_text(json.dumps(record, indent=1) + "\n")


def _check_json(path: str | None) -> None:
    """Before the work is done, not after it."""
    if path and not os.access(Path(path).absolute().parent, os.W_OK):
        raise UserError(f"--json={path} can't be written: there is no such folder, or it is read-only")


_VERBS: dict[str, Callable[[list[str]], None]] = {
    "train": _train,
    "evaluate": _evaluate,
    "prepare": _prepare,
    "plan": _plan,
}


def _config_flag(values: flags.FlagValues) -> None:
    flags.DEFINE_string("config", None, "FILE.py[:VARIANT[,VARIANT]]", flag_values=values)


def _parse(
    verb: str, args: list[str], *define: Callable[[flags.FlagValues], None]
) -> tuple[flags.FlagValues, list[str]]:
    """The verb's flags, and the ``--config.KEY=VALUE`` that are left."""
    values = flags.FlagValues()
    for each in define:
        each(values)
    if "--help" in args or "-h" in args:
        print(f"alexnet-jax {verb}\n{values.get_help(include_special_flags=False)}\n\n{_USAGE}")
        raise SystemExit(0)
    overrides, others = [], []
    remaining = list(args)
    while remaining:
        arg = remaining.pop(0)
        if not arg.startswith(("--config.", "-config.")):
            others.append(arg)
        elif "=" not in arg and remaining and not remaining[0].startswith("--"):
            overrides.append(f"{arg}={remaining.pop(0)}")  # --config.KEY VALUE
        else:
            overrides.append(arg)
    try:
        rest = values(["alexnet-jax", *others])[1:]
    except flags.Error as error:
        raise UserError(f"{verb}: {error}") from error
    if rest:
        raise UserError(f"{verb} takes flags alone, not {rest[0]!r}")
    return values, overrides


def _required(value: Any, flag: str) -> Any:
    if not value:
        raise UserError(f"{flag} is missing")
    return value


_KINDS = {
    bool: "true or false",
    float: "a number",
    int: "a whole number",
    str: "a word",
    tuple: "numbers in parentheses, as (1, 2)",
}


def _override(config: ConfigDict, overrides: list[str]) -> ConfigDict:
    """The config with ``--config.KEY=VALUE`` applied: known keys and values of their types alone."""
    known = dict(config_lib.flat(config))
    for override in overrides:
        key, _, value = override.lstrip("-").removeprefix("config.").partition("=")
        if key.startswith("net.layers"):
            raise UserError(f"{override}: layers change by variant, --config=FILE.py:VARIANT")
        if key.startswith("learning.layers.") and key.count(".") == 3:
            _, _, layer, setting = key.split(".")
            with contextlib.suppress(ValueError, SyntaxError):  # then it is text, which the check refuses
                value = ast.literal_eval(value)
            config.learning.layers.update({layer: {setting: value}})
            continue
        if key not in known:
            raise UserError(f"config.{key} does not exist{config_lib.near(key, known)}")
        if not value:
            raise UserError(f"config.{key} is given no value: --config.{key}=VALUE")
        *sections, last = key.split(".")
        kind = functools.reduce(lambda section, name: section[name], sections, config).get_type(last)
        values = flags.FlagValues()
        argv = ["alexnet-jax", f"--config.{key}={value}"]
        try:
            holder = config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=argv)
            values(argv)
        except (flags.Error, TypeError, ValueError, SyntaxError) as error:
            raise UserError(
                f"config.{key} takes {_KINDS.get(kind, kind.__name__)}, not {value!r} (here {known[key]!r})"
            ) from error
        config = holder.value
    return config
