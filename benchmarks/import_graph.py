"""Measure the import graph of the package: its modules, its levels and its cycles.

    python benchmarks/import_graph.py [--source=src] [--list]

A module that imports no other module is on level 1. Others are one level above the highest that they import.
Modules of a cycle share a level. Imports inside functions count; those for type checkers do not. ``--source``
measures another version: ``git worktree add /tmp/old COMMIT``, then ``--source=/tmp/old/src``.
"""

import collections
import graphlib
import sys
from collections.abc import Mapping

import grimp
from options import parser

PACKAGE = "alexnet_jax"


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--source", default="src", help="folder that holds the package")
    options.add_argument("--list", action="store_true", help="print the modules of each level")
    args = options.parse_args()
    sys.path.insert(0, args.source)
    graph = grimp.build_graph(PACKAGE, exclude_type_checking_imports=True, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    groups = cycles(imports)
    levels = level_of_each(imports, groups)
    by_level = collections.defaultdict(list)
    for module, level in sorted(levels.items()):
        by_level[level].append(module.removeprefix(f"{PACKAGE}."))
    tangled = [sorted(group) for group in set(groups.values()) if len(group) > 1]
    print(f"{len(imports)} modules, {max(by_level)} levels, {len(tangled)} cycles")
    for group in tangled:
        print("cycle:", ", ".join(group))
    if args.list:
        for level in sorted(by_level):
            print(f"{level:2}", ", ".join(by_level[level]))


def cycles(imports: Mapping[str, set[str]]) -> dict[str, frozenset[str]]:
    """Return the cycle of each module: the modules that it imports and that import it, and itself."""
    reached: dict[str, set[str]] = {}
    for start in imports:
        found: set[str] = set()
        waiting = [start]
        while waiting:
            new = imports[waiting.pop()] - found
            found |= new
            waiting += new
        reached[start] = found
    return {a: frozenset({a, *(b for b in reached[a] if a in reached[b])}) for a in imports}


def level_of_each(imports: Mapping[str, set[str]], groups: Mapping[str, frozenset[str]]) -> dict[str, int]:
    """Return the level of each module."""
    below = {
        group: {groups[imported] for module in group for imported in imports[module]} - {group}
        for group in groups.values()
    }
    levels: dict[frozenset[str], int] = {}
    for group in graphlib.TopologicalSorter(below).static_order():
        levels[group] = 1 + max((levels[lower] for lower in below[group]), default=0)
    return {module: levels[group] for module, group in groups.items()}


if __name__ == "__main__":
    main()
