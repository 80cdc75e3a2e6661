"""Orbax's warnings, which the command line hides."""

import contextlib
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def orbax_warnings() -> Iterator[list[str]]:
    """Collect the warnings and errors that Orbax logs in the ``with`` block. This changes no output."""
    logger, found = logging.getLogger("absl"), list[str]()
    level = logger.level

    def collect(record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING and "orbax" in record.pathname:
            found.append(record.getMessage())
        return record.levelno >= level

    logger.addFilter(collect)
    logger.setLevel(min(level, logging.WARNING))
    try:
        yield found
    finally:
        logger.setLevel(level)
        logger.removeFilter(collect)
