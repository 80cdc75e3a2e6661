"""The verbs of the command line, each in its file. A file imports slow modules only when its verb runs."""

from typing import Protocol

from alexnet_jax.cli.verbs import (
    detect,
    evaluate,
    export,
    faces,
    features,
    import_,
    plan,
    predict,
    prepare,
    probe,
    recipes,
    report,
    sweep,
    train,
)


class Verb(Protocol):
    """What the file of a verb defines.

    Attributes:
      USAGE: its flags in short, and what it does, without its name.
    """

    USAGE: str

    def run(self, args: list[str]) -> int | None:
        """Do what the words after the verb ask for. Return the exit status; None means 0."""


VERBS: dict[str, Verb] = {
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "features": features,
    "probe": probe,
    "detect": detect,
    "faces": faces,
    "prepare": prepare,
    "sweep": sweep,
    "report": report,
    "plan": plan,
    "import": import_,
    "export": export,
    "recipes": recipes,
}
