"""Read a compiled program: its memory traffic, and the layers, axes and bytes of its collectives.

XLA prints a program as HLO text, the only form that all compilers (CPU, TPU, GPU) share.
"""

import dataclasses
import itertools
import math
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeAlias

import numpy as np

from alexnet_jax.layers import Layers
from alexnet_jax.net.shapes import Params
from alexnet_jax.parallel.collectives import Collective, Pass

_KINDS = (
    "all-gather",
    "all-reduce",
    "all-to-all",
    "collective-broadcast",
    "collective-permute",
    "ragged-all-to-all",
    "recv",
    "reduce-scatter",
    "send",
)
_ITEMSIZE = {"pred": 1, "s4": 0.5, "u4": 0.5, "token": 0} | {
    f"{kind}{bits}": bits / 8 for kind in "suf" for bits in (8, 16, 32, 64)
} | {"bf16": 2, "c64": 8, "c128": 16}  # fmt: skip


class Array(NamedTuple):
    """The type of an array: ``f32[128,1000]{1,0:S(1)}``.

    Attributes:
      kind: element type, such as ``f32``.
      shape: shape.
      space: memory space: 0 is the main memory of the device. On a TPU, 1 is VMEM, which is on the chip.
    """

    kind: str
    shape: tuple[int, ...]
    space: int


class UnknownCollective(Exception):
    """A collective whose layers or axes cannot be determined."""


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a program: ``%name = type opcode(operands), attributes``."""

    name: str
    arrays: tuple[Array, ...]
    opcode: str
    operands: tuple[str, ...]
    attributes: str
    entry: bool

    @property
    def op_name(self) -> str:
        """JAX's name stack of the operation: ``jit(update)/.../jvp(conv3)/all_gather``."""
        found = re.search(r'op_name="([^"]*)"', self.attributes)
        return found[1] if found else ""


Program: TypeAlias = dict[str, Instruction]


def parse(text: str) -> Program:
    """Return the instructions of every computation, by name."""
    program: Program = {}
    entry = False
    for line in text.splitlines():
        if line.endswith("{") and not line.startswith(" "):
            entry = line.startswith("ENTRY")
        elif found := re.match(r"\s+(?:ROOT )?%?([\w.\-]+) = ", line):
            rest = line[found.end() :]
            type_end = _closing(rest) if rest.startswith("(") else rest.index(" ")
            opcode, _, tail = rest[type_end:].lstrip().partition("(")
            end = _closing("(" + tail) - 1
            program[found[1]] = Instruction(
                name=found[1],
                arrays=_arrays(rest[:type_end]),
                opcode=opcode,
                operands=tuple(re.findall(r"%([\w.\-]+)", tail[:end])),
                attributes=tail[end:],
                entry=entry,
            )
    return program


def collectives(
    program: Program, mesh_shape: dict[str, int], layers: Layers, local_params: Params
) -> list[Collective]:
    """Return the collectives of a program, without those whose groups have one device.

    Args:
      program: program from `parse`.
      mesh_shape: sizes of the mesh's axes by name, in the order of the mesh.
      layers: layers of the network.
      local_params: shapes of the parameters on one device.

    Raises:
      UnknownCollective: a collective belongs to no layer and is no metric, or runs along no set of axes.
    """
    names = [layer.name for layer in layers]
    found = []
    for instruction in program.values():
        kind = instruction.opcode.removesuffix("-start")
        if kind not in _KINDS:
            continue
        axes = _axes(instruction, mesh_shape)
        if not axes:
            continue
        operands = [a for operand in instruction.operands for a in program[operand].arrays]
        size = int(sum(map(_bytes, operands)))
        if kind == "all-gather":
            size *= math.prod(mesh_shape[axis] for axis in axes)
        of, direction = _whose(instruction, program, names, local_params)
        found.append(Collective(kind, axes, tuple(sorted(of, key=names.index)), direction, size))
    return found


def hbm_bytes(program: Program, has_vmem: bool) -> int:
    """Return the bytes that the program reads from the main memory of the device, and writes to it.

    These are the operands and results of the entry's instructions. Arrays count in full, even if an
    instruction reads or writes a part of them. Not counted: what a fusion keeps in registers, and what a
    TPU's compiler keeps in VMEM. XLA's own cost analysis counts VMEM too, and has no figures for GPUs.

    Args:
      program: program from `parse`. What loops and calls do inside is not counted.
      has_vmem: whether other memory spaces are on the chip, as on a TPU. On a GPU, they are not.
    """
    total = 0.0
    for instruction in _executed(program):
        opcode = instruction.opcode
        operands = [a for operand in instruction.operands for a in program[operand].arrays]
        results = list(instruction.arrays)
        if opcode.endswith("-start") and opcode != "all-reduce-start":  # the result repeats the operands
            for array in operands:
                if array in results:
                    results.remove(array)
        if opcode == "slice-start":  # it reads as much as it writes
            operands = [operands[0]._replace(shape=results[0].shape)]
        total += sum(_bytes(a) for a in itertools.chain(operands, results) if a.space == 0 or not has_vmem)
    return int(total)


def kernels(program: Program) -> tuple[int, int]:
    """Return how many kernels a GPU starts, and how many of these only copy or transpose an array.

    A call of a library, such as cuDNN, and a collective count as one kernel.
    """
    found = list(_executed(program))
    layout = [i for i in found if i.opcode in ("copy", "transpose")]
    layout += [i for i in found if i.opcode == "fusion" and "transpose" in i.name]  # XLA names it by its root
    return len(found), len(layout)


def _executed(program: Program) -> Iterator[Instruction]:
    """Yield the instructions of the entry that do something."""
    free = ("parameter", "tuple", "get-tuple-element", "bitcast", "constant", "partition-id", "after-all")
    for instruction in program.values():
        opcode = instruction.opcode
        if instruction.entry and opcode not in free and not opcode.endswith(("-done", "-update")):
            yield instruction


def _closing(text: str) -> int:
    """Return the index after the parenthesis that closes the first one."""
    depth = 0
    for match in re.finditer(r"[()]", text):
        depth += 1 if match[0] == "(" else -1
        if depth == 0:
            return match.end()
    raise ValueError(f"unbalanced: {text[:80]}")


def _arrays(text: str) -> tuple[Array, ...]:
    """Return all arrays in a type, with tuples flattened."""
    found = re.findall(r"\b([a-z][a-z0-9]*)\[([\d,<=]*)\](?:\{([^}]*)\})?", text)
    spaces = (re.search(r"(?<![A-Z])S\((\d+)\)", layout) for _, _, layout in found)
    return tuple(
        Array(
            kind,
            tuple(int(n.strip("<=")) for n in dims.split(",") if n),
            int(space[1]) if space else 0,
        )
        for (kind, dims, _), space in zip(found, spaces, strict=True)
    )


def _bytes(array: Array) -> float:
    return math.prod(array.shape) * (1 if array.kind.startswith("f8") else _ITEMSIZE[array.kind])


def _axes(instruction: Instruction, mesh_shape: dict[str, int]) -> tuple[str, ...]:
    """Return the mesh axes along which the members of a group differ; none if each group has one member."""
    mesh = np.arange(math.prod(mesh_shape.values())).reshape(tuple(mesh_shape.values()))
    groups = [sorted(group) for group in _groups(instruction, mesh.size)]
    if all(len(group) < 2 for group in groups):
        return ()
    axes = tuple(mesh_shape)
    for count in range(1, len(axes) + 1):
        for chosen in itertools.combinations(range(len(axes)), count):
            members = math.prod(mesh.shape[i] for i in chosen)
            last = np.moveaxis(mesh, chosen, range(-count, 0)).reshape(-1, members)
            whole = {tuple(row) for row in last.tolist()}
            if instruction.opcode.startswith("collective-permute"):
                # Pairs: each lies within one group of these axes.
                within = all(any(set(pair) <= set(row) for row in whole) for pair in groups)
            else:
                within = {tuple(group) for group in groups} == whole
            if within:
                return tuple(axes[i] for i in chosen)
    raise UnknownCollective(f"{instruction.name}: {instruction.opcode} over {groups} runs along no mesh axis")


def _groups(instruction: Instruction, devices: int) -> Iterator[list[int]]:
    """Yield the groups of devices that exchange with one another, by their index in the mesh."""
    text = instruction.attributes
    pairs = re.search(r"source_target_pairs=\{(.*?)\}\}", text)
    listed = re.search(r"replica_groups=\{(\{.*?\})?\}", text)
    iota = re.search(r"replica_groups=\[([\d,]+)\]<=(\[[\d,]+\](?:T\([\d,]+\))?)", text)
    named = re.search(
        r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\((.*?\])((?:T\([\d,]+\))?)\))? \{([^}]*)\}", text
    )
    if pairs:
        for pair in re.findall(r"\{([\d,]+)", pairs[0]):
            source, target = _integers(pair)
            if source != target:
                yield [source, target]
    elif iota:
        yield from _iota(iota[2]).reshape(_integers(iota[1])).tolist()
    elif named:
        sizes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", named[1])}
        along = re.findall(r"'(\w+)'", named[4])
        ids = _iota(f"{named[2] or f'[{devices}]'}{named[3] or ''}").reshape(tuple(sizes.values()))
        moved = np.moveaxis(ids, [list(sizes).index(name) for name in along], range(-len(along), 0))
        yield from moved.reshape(-1, math.prod(sizes[name] for name in along)).tolist()
    elif listed:
        if not listed[1]:
            yield list(range(devices))
        for group in re.findall(r"\{([\d,]+)\}", listed[1] or ""):
            yield _integers(group)
    else:
        raise UnknownCollective(f"{instruction.name}: its groups cannot be read: {instruction.attributes}")


def _iota(text: str) -> np.ndarray:
    """Return the indices that ``[4,2]T(1,0)`` describes: 0, 1, ... in this shape, transposed."""
    shape, _, order = text.partition("T")
    ids = np.arange(math.prod(_integers(shape))).reshape(_integers(shape))
    return ids.transpose(_integers(order)) if order else ids


def _integers(text: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", text)]


def _whose(
    instruction: Instruction, program: Program, names: list[str], local_params: Params
) -> tuple[frozenset[str], Pass]:
    """Return the layers whose elements a collective carries, and its pass.

    Combined collectives, and those without a name, are identified by the sizes of their arrays, which must
    be gradients and metrics. The others are identified by their name stack.
    """
    if "trust_ratios" in instruction.op_name:  # of LARS: the norms of all kernels
        return frozenset(), "update"
    name, scopes = _scope([instruction], names)
    named = len(instruction.operands) > 1 or "gradient_sums" in instruction.op_name
    if instruction.opcode.startswith("all-reduce") and (named or not scopes):
        sizes = _gradient_sizes(instruction, program, local_params)
        of = None if sizes is None else _match(sizes, scopes, local_params)
        if of is not None:
            return of, "backward" if of else "forward"  # only metrics
        if sizes is not None and named:
            raise UnknownCollective(
                f"{instruction.name}: more arrays of {sizes} are summed than the network has"
            )
    level = [instruction]
    for _ in range(4):  # a compiler may drop the name of a collective: use the names of its operands
        if not scopes:
            level = [program[operand] for source in level for operand in source.operands]
            name, scopes = _scope(level, names)
    if not scopes:
        raise UnknownCollective(
            f"{instruction.name}: {instruction.opcode} of {instruction.arrays} belongs to no layer"
            f" ({instruction.op_name or 'it has no name'})"
        )
    if "transpose(" in name:
        return scopes, "backward"
    return scopes, "forward" if "jvp(" in name else "update"


def _scope(instructions: Iterable[Instruction], names: list[str]) -> tuple[str, frozenset[str]]:
    """Return the first name stack that contains layers, and these layers."""
    for instruction in instructions:
        if scopes := frozenset(re.findall(r"\w+", instruction.op_name)) & frozenset(names):
            return instruction.op_name, scopes
    return "", frozenset()


def _gradient_sizes(instruction: Instruction, program: Program, local_params: Params) -> list[int] | None:
    """Return the size of each operand of an all-reduce, if each is that of a parameter or a scalar."""
    known = {1, *(n for arrays in local_params.values() for x in arrays.values() for n in _pieces(x.shape))}

    def sizes_of(operand: str, depth: int = 0) -> list[int] | None:
        source = program[operand]
        if len(source.arrays) != 1 or source.arrays[0].kind != "f32":  # gradients are summed in float32
            return None
        size = math.prod(source.arrays[0].shape)
        if size in known:
            return [size]
        # The compiler may have put several arrays into one buffer.
        parts = [sizes_of(name, depth + 1) for name in source.operands] if depth < 4 else []
        flat = [n for part in parts if part is not None for n in part]
        return flat if flat and sum(flat) == size else None

    found = [sizes_of(operand) for operand in instruction.operands]
    return None if None in found else [n for part in found if part is not None for n in part]


def _match(sizes: list[int], scopes: frozenset[str], local_params: Params) -> frozenset[str] | None:
    """Return the layers with arrays of these sizes; of several, the one in the name stack, or the first.

    Return None if the network has fewer arrays of a size.
    """
    left = {(name, kind): math.prod(x.shape) for name, xs in local_params.items() for kind, x in xs.items()}
    pieces = {(name, kind): _pieces(x.shape) for name, xs in local_params.items() for kind, x in xs.items()}
    found = set()
    for size in (n for n in sizes if n != 1):  # scalars are metrics
        candidates = [key for key in left if size in pieces[key] and left[key] >= size]
        if not candidates:
            return None
        key = next((c for c in candidates if c[0] in scopes), candidates[0])
        left[key] -= size
        found.add(key[0])
    return frozenset(found)


def _pieces(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the sizes of an array and of the part of one tower.

    Sizes are compared, not shapes: compilers drop axes of length 1, transpose and flatten.
    """
    return math.prod(shape), math.prod(shape[1:])
