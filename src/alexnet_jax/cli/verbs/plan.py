"""alexnet-jax plan."""

from absl import flags

from alexnet_jax import files
from alexnet_jax.cli.flags import (
    check_file,
    config_flag,
    config_of,
    json_flag,
    parse,
    required,
    writing,
)
from alexnet_jax.errors import UserError
from alexnet_jax.runtime import progress

USAGE = """\
--config=RECIPE[:VARIANT,...] --topology=v5e:2x4 [--compare] [--json=FILE]
[--config.KEY=VALUE ...]
compiles the step for other hardware; prints memory, FLOPs, communication and time"""


def run(args: list[str]) -> None:
    """Compile the step for other hardware, and print what it takes."""

    def define(values: flags.FlagValues) -> None:
        text = "Devices, such as v5e:16x16, v5p:4x4x8, h100:8 or cpu:8."
        flags.DEFINE_string("topology", None, text, flag_values=values)
        flags.DEFINE_bool(
            "compare", False, "Compare all meshes and parallelisms, and larger batches.", flag_values=values
        )

    values, overrides, _ = parse("plan", args, USAGE, config_flag, define, json_flag, overrides=True)
    config = config_of(values, overrides)
    topology = required(values.topology, "--topology=SLICE (v5e:2x4, v5p:4x4x8, h100:8, cpu:8 ...)")
    check_file("--json", values.json)

    from alexnet_jax.parallel.mesh import mesh_for
    from alexnet_jax.plan import batches, chips, plan
    from alexnet_jax.plan import tables as plan_tables
    from alexnet_jax.training.run import settled

    config = settled(config)
    if (parts := config.accumulation_steps) > 1:
        raise UserError(
            f"plan does not support accumulation_steps: plan one part of the batch instead, with"
            f" --config.accumulation_steps=1 --config.batch_size={config.batch_size // parts}"
        )
    devices, chip = chips.devices_of(topology), chips.chip_of(topology)
    if values.compare:
        plans = plan.compare(config, topology, chip, devices)
        best = plan.best_of(plans)
        progress.show(plan_tables.comparison(plans))
        record = {"plans": [p.to_json() for p in plans], "best": None if best is None else plans.index(best)}
        if best is not None:
            larger = batches.larger_batches(config, topology, chip, devices, best)
            progress.show("\n" + plan_tables.batch_sizes(larger, config))
            record["batches"] = [p.to_json() for p in larger]
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
