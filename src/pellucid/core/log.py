"""Logging: one logger per layer under `pellucid`, the level from the configuration."""

from __future__ import annotations

import logging

from pellucid.core.config import current_config
from pellucid.core.errors import ArgumentError


def get_logger(layer: str) -> logging.Logger:
    """The logger `pellucid.<layer>`."""
    root = logging.getLogger("pellucid")
    if not root.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
        root.addHandler(handler)
        root.setLevel(_level())
        root.propagate = False
    return root.getChild(layer)


def _level() -> str:
    """The configured level. Loggers are made when modules are imported, where settings that do not
    fit are not yet reported: whoever first needs one does that.
    """
    try:
        return current_config().log.upper()
    except ArgumentError:
        return "WARNING"
