"""Text as numbers, one per character, and windows of it to learn from."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from pellucid.core.errors import ArgumentError
from pellucid.data.checks import share, whole_number
from pellucid.tensor.tensor import Tensor


class CharDataset:
    """A text as int64 numbers, for a model that predicts the next character.

    Args:
        text: any text.
        context: characters the model sees at once.
        vocabulary: the characters in the order of their numbers; by default the text's, sorted.

    Raises:
        ArgumentError: the text is not longer than `context`, or has a character that is not in the
            vocabulary.
    """

    def __init__(self, text: str, context: int, vocabulary: str | None = None) -> None:
        self.vocabulary = "".join(sorted(set(text))) if vocabulary is None else vocabulary
        self._numbers = {c: i for i, c in enumerate(self.vocabulary)}
        self.context = whole_number("CharDataset", "context", context, 1)
        self.tokens = self.encode(text)
        if len(self.tokens) <= context:
            operands: dict[str, object] = {"text": len(self.tokens), "context": context}
            rule = "the text must be longer than the context"
            raise ArgumentError("CharDataset", rule, operands=operands)

    def __len__(self) -> int:
        """How many windows there are."""
        return len(self.tokens) - self.context

    def encode(self, text: str) -> NDArray[np.int64]:
        """The characters' numbers, `[len(text)]`.

        Raises:
            ArgumentError: a character is not in the vocabulary.
        """
        missing = set(text) - set(self._numbers)
        if missing:
            operands: dict[str, object] = {"it": repr("".join(sorted(missing)))}
            raise ArgumentError("encode", "characters not in the vocabulary", operands=operands)
        return np.array([self._numbers[c] for c in text], np.int64)

    def decode(self, tokens: Iterable[int] | Tensor) -> str:
        """The text of a sequence of numbers."""
        numbers = tokens.tolist() if isinstance(tokens, Tensor) else tokens
        return "".join(self.vocabulary[int(i)] for i in numbers)

    def split(self, test_share: float = 0.1) -> tuple[CharDataset, CharDataset]:
        """The first part and the rest, of one vocabulary.

        Raises:
            ArgumentError: `test_share` is not in (0, 1), or a part not longer than the context.
        """
        cut = round(len(self.tokens) * (1 - share("CharDataset.split", "test_share", test_share)))
        parts = (self.decode(self.tokens[:cut]), self.decode(self.tokens[cut:]))
        train, test = (CharDataset(part, self.context, self.vocabulary) for part in parts)
        return train, test

    def sample(self, batch_size: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Random windows and, one character on, their targets: both `[batch_size, context]`.

        Args:
            batch_size: windows.
            rng: where random numbers come from.

        Raises:
            ArgumentError: `batch_size` is less than 1, or no integer.
        """
        count = whole_number("CharDataset.sample", "batch_size", batch_size, 1)
        starts = rng.integers(0, len(self), count)
        rows = starts[:, None] + np.arange(self.context)
        return Tensor(self.tokens[rows]), Tensor(self.tokens[rows + 1])
