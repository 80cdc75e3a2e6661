"""alexnet-jax recipes."""

import textwrap

from alexnet_jax.cli.flags import (
    parse,
)
from alexnet_jax.config.recipe import recipes
from alexnet_jax.runtime import progress

USAGE = """
lists the recipes of the package and their variants"""


def run(args: list[str]) -> None:
    """List the recipes of the package."""
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
