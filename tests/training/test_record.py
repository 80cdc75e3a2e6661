"""A record is read as it was written; one changed bit or a value of another type is damage."""

import json
import zlib

import numpy as np
import pytest

from alexnet_jax.training.record import FORMAT, OtherFormat, Record
from alexnet_jax.training.schedule import Plateau
from alexnet_jax.training.tally import Tally

RECORD = Record(
    Plateau(0.25, 3, 1), 0.125, Tally(2, 1.5, 0.5, 1), {"params": {"conv1/kernel": 7}, "opt_state": {}}
)


def test_what_was_written_is_read():
    for record in (RECORD, Record(Plateau(), None, Tally(), {"params": {}, "opt_state": {"a": 2**32 - 1}})):
        assert Record.from_json(json.loads(json.dumps(record.to_json()))) == record


def test_any_flipped_bit_is_damage_or_changes_nothing():
    text = json.dumps(RECORD.to_json()).encode()
    for position in range(8 * len(text)):
        flipped = bytearray(text)
        flipped[position // 8] ^= 1 << position % 8
        try:
            found = Record.from_json(json.loads(flipped))
        except ValueError:
            continue
        assert found == RECORD


def signed(**changes):
    """Return the content of a record with these changes, and with the checksum that belongs to it."""
    content = {name: value for name, value in RECORD.to_json().items() if name != "checksum"} | changes
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return content | {"checksum": zlib.crc32(text.encode())}


@pytest.mark.parametrize(
    "changes",
    [
        *({"top1_error": x} for x in (np.nan, np.inf, -0.1, 1.5, True, "0.1", [], {}, 10**400)),
        *({"plateau": x} for x in (None, [], {}, {"best": 1.0}, {"best": 1.0, "other": 1}, "abc")),
        *({"plateau": {"best": x, "waited": 0, "reductions": 0}} for x in (np.nan, -1, 2, None, "1")),
        *({"plateau": {"best": 1, "waited": x, "reductions": 0}} for x in (-1, 0.5, 10**20, True, None)),
        *({"plateau": {"best": 1, "waited": 0, "reductions": x}} for x in (-1, 0.5, 10**20, True, None)),
        *({"sums": x} for x in (None, [], {}, {"params": {}}, {"params": {}, "opt_state": {}, "more": {}})),
        *({"sums": {"params": {"a": x}, "opt_state": {}}} for x in (-1, 2**32, 1.0, None, "1", [])),
        {"another": 1},
    ],
)
def test_a_value_of_another_type_is_damage(changes):
    with pytest.raises(ValueError, match="its record has"):
        Record.from_json(signed(**changes))


def test_another_format_is_not_damage():
    with pytest.raises(OtherFormat, match=f"format {FORMAT + 1}, but this alexnet-jax reads format {FORMAT}"):
        Record.from_json(signed(format=FORMAT + 1))
    with pytest.raises(OtherFormat, match=f"format 3, but this alexnet-jax reads format {FORMAT}"):
        Record.from_json({"format": 3, "plateau": {}, "top1_error": None})
