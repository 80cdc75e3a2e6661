"""Hostile files: JSON that is valid except for one or two parts, and workdirs with right checksums."""

import copy
import json
import zlib

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from alexnet_jax import UserError

READ_ONLY = settings(
    max_examples=150,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
"""A few seconds. A failure prints how to reproduce it. Fixtures are only read, or written by each example."""

_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        [0, -1, 10**20, 2**63, 10**4000, 1e308, "", "../..", "/etc", "\0", "\x1b[2J", "x" * 10**4]
    )
)


def _nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


_VALUES = (
    st.recursive(
        _LEAVES,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
        max_leaves=8,
    )
    | st.sampled_from([[0] * 1000, [[]] * 1000])
    | st.sampled_from([10, 20, 200]).map(_nested)
)


@st.composite
def hostile(draw, document):
    """Return the document after one or two changes: a part is replaced, removed, repeated or renamed."""
    found = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 2))):
        places = list(_places(found))
        if not places:
            break
        parent, key = places[draw(st.integers(0, len(places) - 1))]
        match draw(st.sampled_from(["replace", "replace", "replace", "remove", "repeat", "rename"])):
            case "replace":
                parent[key] = copy.deepcopy(draw(_VALUES))
            case "remove":
                del parent[key]
            case "repeat" if isinstance(parent, list):
                parent.insert(key, parent[key])
            case "rename" if isinstance(parent, dict):
                parent[draw(st.text(max_size=8))] = parent.pop(key)
    return found


def _places(value):
    """Yield (parent, key) of every part."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        yield value, key
        yield from _places(inner)


def check_refusal(read):
    """Call a function, which must return or raise a `UserError` with a short message."""
    try:
        read()
    except UserError as error:
        message = str(error)
    else:
        return
    assert len(message) < 1000


def forge(workdir, settings=None, **contents):
    """Write files of a workdir with right checksums, as a stranger can.

    ``contents`` are those of ``data.json`` (``data``) and ``mean_image.npy`` (``mean_image``).
    """
    found = json.loads((workdir / "config.json").read_text())
    checksums = found.pop("checksums")
    for name in ("data.json", "mean_image.npy"):
        if (content := contents.get(name.partition(".")[0])) is not None:
            (workdir / name).write_bytes(content)
            checksums[name] = zlib.crc32(content)
    settings = found if settings is None else settings
    checksums["config.json"] = zlib.crc32(json.dumps(settings, sort_keys=True).encode())
    (workdir / "config.json").write_text(json.dumps({"checksums": checksums} | settings))
