"""Orbax's warnings, which the command line hides, and what asyncio prints about its reads and writes."""

import asyncio
import contextlib
import logging
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress the tracebacks of reads and writes that were not done when another one failed."""
    asyncio_log, before = logging.getLogger("asyncio"), sys.unraisablehook

    def hook(event: "sys.UnraisableHookArgs") -> None:
        closed = isinstance(event.exc_value, RuntimeError) and "loop is closed" in str(event.exc_value)
        if not closed and event.object is not asyncio.BaseEventLoop.__del__:
            before(event)

    def is_shown(record: logging.LogRecord) -> bool:
        return "was never retrieved" not in record.getMessage()

    asyncio_log.addFilter(is_shown)
    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before
        asyncio_log.removeFilter(is_shown)


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
