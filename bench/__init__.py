"""Benchmarks against the peers and the machine's limits: `python -m bench`."""

import os

# Some systems pin OpenBLAS to kernels for an older processor; NumPy is measured at its best.
for _name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(_name, None)
