"""The record of a checkpoint: JSON with everything except the arrays, and its checksum."""

import dataclasses
import json
import zlib
from collections.abc import Mapping
from typing import Any

from alexnet_jax.training.schedule import Plateau
from alexnet_jax.training.tally import Tally

FORMAT = 4
"""The format of a checkpoint; it changes whenever an older version could not read a new checkpoint."""

ITEMS = ("params", "opt_state")
"""The items of a checkpoint that hold arrays."""


class OtherFormat(Exception):
    """The record is intact, but of another format. The text says which, and which one is read."""


@dataclasses.dataclass(frozen=True)
class Record:
    """The record of a checkpoint.

    Attributes:
      plateau: state of the schedule.
      top1_error: validation error, a fraction; None if it is not known at this step.
      tally: sums of the metrics since the last line of the log.
      sums: the checksum of each array by its name, for each of `ITEMS`.
    """

    plateau: Plateau
    top1_error: float | None
    tally: Tally
    sums: Mapping[str, Mapping[str, int]]

    def to_json(self) -> dict[str, Any]:
        """Return the value that `from_json` reads."""
        content = {"format": FORMAT, **dataclasses.asdict(self)}
        return content | {"checksum": _checksum(content)}

    @classmethod
    def from_json(cls, content: Any) -> "Record":
        """Read a record, which may have been written by anybody.

        Raises:
          OtherFormat: it has another format.
          ValueError: it is damaged, or no record.
        """
        if not isinstance(content, dict):
            raise ValueError("its record is no JSON object")
        rest = {name: value for name, value in content.items() if name != "checksum"}
        if "checksum" in content and content["checksum"] != _checksum(rest):
            raise ValueError("the checksum of its record differs")
        if (written := rest.pop("format", 1)) != FORMAT:
            raise OtherFormat(f"format {written!r:.20}, but this alexnet-jax reads format {FORMAT}")
        if "checksum" not in content:
            raise ValueError("its record has no checksum")
        try:
            parts = {"plateau": Plateau(**rest["plateau"]), "tally": Tally(**rest["tally"])}
            record = cls(**rest | parts)
        except (KeyError, TypeError):
            record = None
        if record is None or record.to_json() != content:
            raise ValueError("its record has other fields")
        record._check()
        return record

    def _check(self) -> None:
        plateau, error, sums = self.plateau, self.top1_error, self.sums
        if not (
            _is_fraction(plateau.best)
            and _is_count(plateau.waited)
            and _is_count(plateau.reductions)
            and (error is None or _is_fraction(error))
            and isinstance(sums, dict)
            and sums.keys() == set(ITEMS)
            and all(isinstance(item, dict) and all(map(_is_count, item.values())) for item in sums.values())
        ):
            raise ValueError("its record has a value of another type")


def _checksum(content: Mapping[str, Any]) -> int:
    """Return the CRC-32 of a value as canonical JSON."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return zlib.crc32(text.encode())


def _is_fraction(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1  # not NaN


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**32
