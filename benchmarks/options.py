"""The parser of each benchmark's options."""

import argparse
from pathlib import Path

CONFIGS = Path(__file__).parent.parent / "configs"


def parser(doc: str | None, recipe: str | None = None) -> argparse.ArgumentParser:
    """Make a parser with ``--config`` if the benchmark takes a recipe; the module's docstring is the help."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    if recipe is not None:
        made.add_argument("--config", default=str(CONFIGS / recipe))
    return made
