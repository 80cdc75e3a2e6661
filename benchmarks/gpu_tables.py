"""The tables of `gpu`, made from its rows."""

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

from alexnet_jax.text import size_in_words

Row: TypeAlias = dict[str, Any]
Table: TypeAlias = list[list[str]]


class Failure(NamedTuple):
    """A part that failed, why, and after how many seconds."""

    part: str
    reason: str
    seconds: float


def tables(rows: list[Row], failures: list[Failure]) -> list[tuple[str, Table]]:
    """Return titles and tables: one for each group of rows that exists, and one for the failures."""
    made = [
        ("Machine", machine(rows)),
        ("Training, images/s", speeds(rows, "train", "train")),
        ("Ten views, patches/s", speeds(rows, "ten views", "evaluate")),
        ("Training from a cache", from_cache(rows)),
        ("Longest kernels of a training step", kernels(rows)),
        ("Two runs with deterministic operations", determinism(rows)),
        ("Failed", failed(rows, failures)),
    ]
    return [(title, table) for title, table in made if len(table) > 1]


def part(rows: list[Row], beginning: str) -> Iterator[Row]:
    """Yield the rows of the parts whose names have this beginning, without failures."""
    return (row for row in rows if row["part"].startswith(beginning) and "error" not in row)


def peaks(rows: list[Row]) -> dict[str, float]:
    """Return the measured peak of each precision in FLOP/s."""
    return {row["precision"]: row["flops_per_second"] for row in part(rows, "peak")}


def machine(rows: list[Row]) -> Table:
    table = [["", ""]]
    for row in part(rows, "machine"):
        memory = row["bytes_limit"]
        table += [
            ["device", row["kind"]],
            ["memory for JAX", size_in_words(memory) if memory else "not reported"],
            ["processor cores", str(row["cores"])],
            ["jax", f"{row['jax']}, {row['platform_version']}"],
            *(list(package) for package in row["packages"].items()),
        ]
    table += [["PyTorch", version] for version in sorted({row["torch"] for row in rows if "torch" in row})]
    table += [
        [f"product of matrices, {name}", f"{peak / 1e12:,.2f} TFLOP/s"] for name, peak in peaks(rows).items()
    ]
    return table


def speeds(rows: list[Row], ours: str, what: str) -> Table:
    """Compare our speed with PyTorch's, for each precision and batch size; the ratio is to the tuned one."""
    head = ["precision", "batch", "ours", "ms", "TFLOP/s", "of the peak", "memory", "compiled in"]
    head += ["Triton kernels", "PyTorch", "its memory", "PyTorch tuned", "its memory", "ours / tuned"]
    table = [head]
    mine = {(row["precision"], row["batch_size"]): row for row in part(rows, ours)}
    peers: dict[tuple[str, int], dict[bool, Row]] = {}
    for row in part(rows, "PyTorch"):
        if row["what"] == what:
            peers.setdefault((row["dtype"], row["batch_size"]), {})[row["mode"] != "eager"] = row
    patches = 10 if what == "evaluate" else 1
    peak = peaks(rows)
    for key in sorted(mine.keys() | peers.keys()):
        precision, batch_size = key
        row = mine.get(key, {})
        cells = [precision, str(batch_size)]
        cells += [number(row.get("per_second")), number(row.get("seconds"), 1e3, 2)]
        flops = row.get("flops_per_second")
        share = flops / peak[precision] if flops and precision in peak else None
        memory = row.get("peak_bytes") or row.get("program_bytes")
        cells += [number(flops, 1e-12, 2), number(share, 1, 2), size_in_words(memory) if memory else ""]
        cells.append(f"{row['compile_seconds']:.1f} s" if "compile_seconds" in row else "")
        cells.append(str(row.get("triton_kernels", "")))
        rate = None
        for tuned in (False, True):
            peer = peers.get(key, {}).get(tuned, {})
            rate = patches * batch_size / peer["seconds"] if peer else None
            memory = peer.get("peak_bytes")
            cells += [number(rate), size_in_words(memory) if memory else ""]
        cells.append(number(row["per_second"] / rate, 1, 2) if row and rate else "")
        table.append(cells)
    return without_empty_columns(table)


def number(value: float | None, factor: float = 1, digits: int = 1) -> str:
    return "" if value is None else f"{value * factor:,.{digits}f}"


def without_empty_columns(table: Table) -> Table:
    kept = [i for i in range(len(table[0])) if any(row[i] for row in table[1:])]
    return [[row[i] for i in kept] for row in table]


def from_cache(rows: list[Row]) -> Table:
    table = [["images", "precision", "batch", "images/s", "ms a step", "ms alone", "of the speed alone"]]
    for row in part(rows, "from"):
        seconds, alone = row["seconds"], row["seconds_alone"]
        cells = [row["encoding"], row["precision"], str(row["batch_size"]), number(row["per_second"])]
        table.append([*cells, number(seconds, 1e3, 2), number(alone, 1e3, 2), number(alone / seconds, 1, 2)])
    return table


def kernels(rows: list[Row]) -> Table:
    table = [["share", "ms a step", "calls", "of", "kernel"]]
    found = list(part(rows, "kernels"))
    for row in found:
        name = row["kernel"] if len(row["kernel"]) <= 60 else row["kernel"][:57] + "..."
        cells = [f"{row['share']:.1%}", number(row["seconds"], 1e3, 3), f"{row['calls']:g}"]
        table.append([*cells, row["work"], name])
    if found:
        row = found[0]
        busy = f"of {row['seconds_of_step'] * 1e3:,.2f} ms"
        table.append(["", number(row["seconds_of_all"], 1e3, 3), "", busy, "all kernels"])
    return table


def determinism(rows: list[Row]) -> Table:
    table = [["precision", "batch", "same bits", "ms a step", "ms without the flag"]]
    found = list(part(rows, "determinism"))
    if len(found) == 2:
        one, other = found
        key = one["precision"], one["batch_size"]
        ordinary = {(row["precision"], row["batch_size"]): row["seconds"] for row in part(rows, "train")}
        same = "yes" if one["digest"] == other["digest"] else "no"
        seconds = min(one["seconds"], other["seconds"])
        table.append([key[0], str(key[1]), same, number(seconds, 1e3, 2), number(ordinary.get(key), 1e3, 2)])
    return table


def failed(rows: list[Row], failures: list[Failure]) -> Table:
    table = [["part", "reason"]]
    for row in rows:
        if "error" in row:
            which = (row.get("dtype") or row["precision"], row.get("mode"), f"batch {row['batch_size']}")
            table.append([f"{row['part']}, {', '.join(filter(None, which))}", row["error"]])
    return table + [[failure.part, failure.reason] for failure in failures]
