"""Tables of plans: one in full, or several side by side."""

from ml_collections import ConfigDict

from alexnet_jax.parallel.axes import DATA, TOWER
from alexnet_jax.plan.batches import PLAIN, missing_variants
from alexnet_jax.plan.plan import Plan, best_of
from alexnet_jax.runtime.device_errors import Shortage, smaller_batch
from alexnet_jax.text import aligned, size_in_words

_NO_PEAKS = "no estimate of time: this device has no published peaks"


def table(plan: Plan) -> str:
    """Format a plan as text. Counts of the compiler are marked ``compiler``, our estimates ``ours``."""
    devices = plan.mesh[DATA] * plan.mesh[TOWER]
    lines = [
        f"{plan.topology}: {devices} {plan.device_kind}, {_mesh(plan)}, {plan.parallelism},"
        f" {plan.global_batch} images a step"
    ]
    if plan.fits is False:
        capacity = int(plan.capacity_bytes or 0)
        found = Shortage(plan.peak_bytes, capacity or None)
        smaller = smaller_batch(plan.global_batch, plan.mesh[DATA], found)
        lines.append(
            f"DOES NOT FIT: each device needs {size_in_words(plan.peak_bytes)}, and has"
            f" {size_in_words(capacity)}: try"
            + (f" --config.batch_size={smaller}, or" if smaller < plan.global_batch else "")
            + " more devices"
        )
    of = "" if plan.capacity_bytes is None else f" of {size_in_words(plan.capacity_bytes)}"
    rows = [("on each device", "", "")]
    for label, count, unit in (
        ("arguments: state and batch", plan.argument_bytes, ""),
        ("temporaries", plan.temp_bytes, ""),
        ("peak", plan.peak_bytes, of),
        ("read and written a step, any memory", plan.bytes_accessed, ""),
    ):
        rows.append((label, "not counted" if count is None else size_in_words(count) + unit, "compiler"))
    if plan.hbm_bytes is not None:
        rows.append(("read and written a step, HBM", size_in_words(plan.hbm_bytes), "ours"))
    if plan.kernels is not None:
        started, layout = map(str, plan.kernels)
        rows += [("kernels a step", started, "ours"), ("of these, copies and transposes", layout, "ours")]
    flops = "not counted" if plan.flops is None else f"{plan.flops / 1e9:,.1f} GFLOP"
    rows.append(("FLOPs a step", flops, "compiler"))
    if plan.collectives:
        rows.append(("sent by each device, in rings", size_in_words(plan.sent_bytes), "ours"))
    lines += ["", aligned(rows)]
    if plan.collectives:
        head = ("collective", "pass", "over", "layers", "whole array", "")
        body = [
            (c.kind, c.direction, ", ".join(c.axes), _names(c.layers), size_in_words(c.bytes), "compiler")
            for c in plan.collectives
        ]
        lines += ["", aligned([head, *body])]
    if plan.seconds:
        alone = ", ".join(f"{name} {_duration(s)}" for name, s in plan.seconds.items())
        lines += ["", f"each resource alone (ours): {alone}", _verdict(plan)]
    elif plan.capacity_bytes is None:
        lines += ["", _NO_PEAKS]
    return "\n".join(lines)


HEAD = (
    *("mesh", "parallelism", "peak", "GFLOP", "traffic", "sent"),
    *("compute", "memory", "network", "input", "images/s", "bound by"),
)
"""Heads of the columns of `rows`."""


def rows(plans: list[Plan]) -> list[tuple[str, ...]]:
    """Return a row of cells for each plan: first those that do not fit, then the fastest."""
    found = []
    for plan in sorted(plans, key=lambda p: (p.fits is not False, p.step_seconds or 0)):
        row = [f"{plan.mesh[DATA]} x {plan.mesh[TOWER]}", plan.parallelism, size_in_words(plan.peak_bytes)]
        row.append("" if plan.flops is None else f"{plan.flops / 1e9:,.1f}")
        row.append("" if plan.hbm_bytes is None else size_in_words(plan.hbm_bytes))
        row.append(size_in_words(plan.sent_bytes) if plan.collectives else "")
        times = ("compute", "memory", "network", "input")
        row += [_duration(plan.seconds[name]) if plan.seconds else "" for name in times]
        row.append(f"{plan.global_batch / plan.step_seconds:,.0f}" if plan.step_seconds else "")
        found.append((*row, "DOES NOT FIT" if plan.fits is False else plan.bound_by or ""))
    return found


def comparison(plans: list[Plan]) -> str:
    """Format plans side by side."""
    lines = [
        f"{plans[0].topology}, {plans[0].device_kind}, {plans[0].global_batch} images a step. For each"
        " device the compiler counts peak memory and GFLOP. Memory traffic, the bytes sent, and the time that"
        " each resource would take alone, are our estimates.",
        "",
        aligned([HEAD, *rows(plans)]),
    ]
    best = best_of(plans)
    if best is not None:
        lines += ["", f"best: {_mesh(best)}, {best.parallelism}", _verdict(best)]
    elif plans[0].capacity_bytes is None:
        lines += ["", _NO_PEAKS]
    return "\n".join(lines)


def batch_sizes(plans: list[Plan], config: ConfigDict) -> str:
    """Format plans of larger and larger batches on one mesh, with the variants that each needs.

    Args:
      plans: result of `batches.larger_batches`.
      config: the config, of any batch size.
    """
    table = [("images a step", "peak", "images/s", "hours", "bound by", "needs the variants")]
    for plan in plans:
        fast = f"{plan.global_batch / plan.step_seconds:,.0f}" if plan.step_seconds else ""
        hours = "" if plan.run_hours is None else f"{plan.run_hours:,.2f}"
        bound = "DOES NOT FIT" if plan.fits is False else plan.bound_by or ""
        missing = missing_variants(config, plan.global_batch)
        table.append((f"{plan.global_batch:,}", size_in_words(plan.peak_bytes), fast, hours, bound, missing))
    lines = [f"larger batches on the same mesh, {_mesh(plans[0])}:", "", aligned(table)]
    if missing := missing_variants(config, plans[-1].global_batch):
        lines += [
            "",
            f"Above {PLAIN:,} images AlexNet is not expected to reach its error without batch normalization"
            f" and LARS, even if the learning rate is scaled: add the variants {missing} (You, Gitman and"
            " Ginsburg 2017).",
        ]
    return "\n".join(lines)


def _mesh(plan: Plan) -> str:
    return f"mesh data {plan.mesh[DATA]} x tower {plan.mesh[TOWER]}"


def _verdict(plan: Plan) -> str:
    seconds = plan.step_seconds or 0.0
    hours = "" if plan.run_hours is None else f", {plan.run_hours:,.2f} hours for {plan.steps:,} steps"
    return (
        f"estimate (ours): {_duration(seconds)} a step at best, {plan.global_batch / seconds:,.0f} images/s"
        f"{hours}; bound by {plan.bound_by}"
    )


def _names(layers: tuple[str, ...]) -> str:
    return ", ".join(layers) if len(layers) < 4 else f"{layers[0]} ... {layers[-1]} ({len(layers)})"


def _duration(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms"
