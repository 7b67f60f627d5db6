"""Logging: one logger per layer under `pellucid`, the level from the configuration."""

from __future__ import annotations

import logging

from pellucid.core.config import CONFIG


def get_logger(layer: str) -> logging.Logger:
    """The logger `pellucid.<layer>`."""
    root = logging.getLogger("pellucid")
    if not root.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
        root.addHandler(handler)
        root.setLevel(CONFIG.log.upper())
        root.propagate = False
    return root.getChild(layer)
