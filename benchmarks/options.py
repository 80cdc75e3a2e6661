"""The options that all benchmarks share."""

import argparse
from pathlib import Path

CONFIGS = Path(__file__).parent.parent / "configs"


def parser(doc: str | None, recipe: str) -> argparse.ArgumentParser:
    """Make a parser with ``--config``; the module's docstring is the help."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--config", default=str(CONFIGS / recipe))
    return made
