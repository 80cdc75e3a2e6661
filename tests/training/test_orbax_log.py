"""What Orbax and asyncio print about reads and writes that fail."""

import asyncio
import logging
import sys
import types

from alexnet_jax.training.orbax_log import quiet


def test_only_the_aftermath_of_a_failed_write_is_suppressed(monkeypatch, caplog):
    shown = []
    monkeypatch.setattr(sys, "unraisablehook", shown.append)

    def unraisable(error, of=None):
        sys.unraisablehook(types.SimpleNamespace(exc_value=error, object=of))

    with caplog.at_level(logging.ERROR, logger="asyncio"), quiet():
        unraisable(RuntimeError("Event loop is closed"))
        unraisable(AttributeError("no attribute _ssock"), asyncio.BaseEventLoop.__del__)
        logging.getLogger("asyncio").error("Task exception was never retrieved")
        assert not shown
        assert not caplog.messages
        unraisable(RuntimeError("another"))
        logging.getLogger("asyncio").error("another")
    assert len(shown) == 1
    assert caplog.messages == ["another"]
    unraisable(RuntimeError("Event loop is closed"))
    assert len(shown) == 2
