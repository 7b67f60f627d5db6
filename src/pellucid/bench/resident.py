"""How much memory a process took at most. Run as a file, it says so of a process with NumPy alone.

Imports nothing of the package, so that such a process does not hold it.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path


def peak_resident_bytes() -> float:
    """The most bytes resident at once in this process.

    `ru_maxrss` would not do on Linux: a process begins with its parent's.
    """
    status = Path("/proc/self/status")
    if status.exists():
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return float(fields["VmHWM"].split()[0]) * 1024
    used = importlib.import_module("resource").getrusage(0).ru_maxrss  # not on Windows
    return float(used) * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    importlib.import_module("numpy")
    sys.stdout.write(f"{peak_resident_bytes()}\n")
