"""Data: what ships with the package, readers of well-known files, batches.

Leaves NumPy arrays and, batch by batch, tensors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pellucid.data.batching import Batches, batches, train_test_split
from pellucid.data.datasets import Labelled, load_digits, load_mnist, load_shakespeare, read_idx
from pellucid.data.text import CharDataset
from pellucid.tensor.hints import answers

__all__ = [
    "Batches",
    "CharDataset",
    "Labelled",
    "batches",
    "load_digits",
    "load_mnist",
    "load_shakespeare",
    "read_idx",
    "train_test_split",
]

if not TYPE_CHECKING:  # type checkers should go on refusing unknown names
    __getattr__, __dir__ = answers("data", __all__)
