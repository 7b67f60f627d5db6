from __future__ import annotations

import numpy as np
import pytest

from pellucid.core.errors import ArgumentError
from pellucid.data import CharDataset


def test_numbers_are_places_in_the_vocabulary() -> None:
    data = CharDataset("hello world", 4)
    assert data.vocabulary == " dehlorw"
    assert data.decode(data.encode("low")) == "low"
    assert data.decode(data.tokens) == "hello world"
    assert len(data) == 7


def test_targets_are_one_character_on() -> None:
    data = CharDataset("abcdefghij" * 3, 5)
    x, y = data.sample(16, np.random.default_rng(0))
    assert x.shape == y.shape == (16, 5)
    np.testing.assert_array_equal(x.numpy()[:, 1:], y.numpy()[:, :-1])
    np.testing.assert_array_equal((x.numpy() + 1) % 10, y.numpy())
    again, _ = data.sample(16, np.random.default_rng(0))
    np.testing.assert_array_equal(x.numpy(), again.numpy())


def test_split_shares_the_vocabulary() -> None:
    train, test = CharDataset("aaaaaaaabbbb", 2).split(1 / 3)
    assert (train.decode(train.tokens), test.decode(test.tokens)) == ("aaaaaaaa", "bbbb")
    assert train.vocabulary == test.vocabulary == "ab"
    assert test.tokens.tolist() == [1, 1, 1, 1]


def test_bad_arguments() -> None:
    with pytest.raises(ArgumentError, match=r"longer than the context, .*got text 3 and context 3"):
        CharDataset("abc", 3)
    with pytest.raises(ArgumentError, match="context must be at least 1, and an integer, got"):
        CharDataset("abc", 0)
    with pytest.raises(ArgumentError, match="batch_size must be at least 1, and an integer, got"):
        CharDataset("abc", 1).sample(0, np.random.default_rng(0))
    with pytest.raises(ArgumentError, match=r"test_share must be in .* got test_share 1"):
        CharDataset("abc", 1).split(1)
    with pytest.raises(ArgumentError, match="not in the vocabulary, got it 'xz'"):
        CharDataset("abc", 1).encode("axzb")
