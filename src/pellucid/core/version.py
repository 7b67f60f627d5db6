"""Which code this is: the package's version and a digest of its sources.

Whatever the compiler makes depends on every line of it, so stored results carry the digest, and an
edited source never meets an old result.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

VERSION = "0.1.0"


@functools.cache
def source_digest() -> str:
    """A hexadecimal SHA-256 of the package's Python files, read once per process."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256(VERSION.encode())
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
