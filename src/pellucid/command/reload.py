"""Predict with weights from a file, in a process that trained nothing.

The tour runs it: `python -m pellucid.command.reload MODEL WEIGHTS INPUTS OUTPUTS`, where INPUTS and
OUTPUTS are NumPy files.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import pellucid as pl
from pellucid.command.programs import make_problem
from pellucid.command.training import predict_all


def main(model: str, weights: str, inputs: str, outputs: str) -> None:
    """Load, predict, save."""
    problem = make_problem(model)
    problem.model.load_state_dict(pl.load(weights))
    with Path(outputs).open("wb") as file:
        np.save(file, predict_all(problem, np.load(inputs)))


if __name__ == "__main__":
    main(*sys.argv[1:])
