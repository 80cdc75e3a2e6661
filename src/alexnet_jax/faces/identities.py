"""The people on which a network was trained, which must not be among those of the test."""

import unicodedata
from collections.abc import Callable, Collection, Iterator

from alexnet_jax.errors import NOTE, UserError
from alexnet_jax.training.restored import Restored
from alexnet_jax.training.workdir import read_workdir


def check_identities(net: Restored, people: Collection[str], where: str, note: Callable[[str], None]) -> None:
    """Check that a network was not trained on people of the test.

    The names of the classes are compared with the names of the people, without regard to case, spaces,
    underscores and punctuation. If the network was fine-tuned (``config.init_from``), the same is checked for
    the network that it started from, and so on.

    Args:
      net: network from `restore`.
      people: names of the people of the test.
      where: what has these people, for messages.
      note: function that takes a line about a network that can't be checked.

    Raises:
      UserError: it was. The message counts the people, and names the first one.
    """
    there = {_key(name) for name in people}
    for workdir, class_names in _trainings(net, note):
        if shared := sorted(name for name in class_names if _key(name) in there):
            raise UserError(
                f"{workdir} was trained on {len(shared):,} of the people in {where} (the first is"
                f" {shared[0]}), so its accuracy on them would be too high: take a network that was trained"
                " on other people, or pairs of other people with --pairs, such as pairsDevTest.txt after a"
                " training on peopleDevTrain.txt"
            )


def _trainings(net: Restored, note: Callable[[str], None]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the workdir and the class names of a network, and of those that it started from."""
    workdir, data, config = net.workdir, net.data, net.config
    seen = {workdir}
    yield workdir, data.class_names
    while config.init_from is not None and config.init_from not in seen:
        before, workdir = workdir, config.init_from
        seen.add(workdir)
        try:
            config, data = read_workdir(workdir)
        except UserError as error:
            note(
                f"{NOTE}{before} started from {workdir}, which can't be read, so that the people on which"
                f" that network was trained are not checked ({error})"
            )
            return
        yield workdir, data.class_names


def _key(name: str) -> str:
    """Return the letters and digits of a name, without case and accents."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKD", name).casefold()))
