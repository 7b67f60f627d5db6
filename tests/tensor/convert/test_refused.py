"""What cannot be converted or recorded is refused with the user's line and the reason."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import pellucid as pl
from pellucid.core.errors import ArgumentError, PellucidError, TraceError

Program = Callable[[Any], Any]
CASES: list[tuple[Program, str, int]] = []


def refused(message: str, line: int) -> Callable[[Program], Program]:
    """Lists a program with the message and the line, counted from its `def`."""

    def note(fn: Program) -> Program:
        lines, first = inspect.getsourcelines(fn)
        head = next(i for i, text in enumerate(lines) if "def " in text)
        CASES.append((fn, message, first + head + line))
        return fn

    return note


@refused(r"variable y has no value here: the `if` at .*:{if} depends on a tensor and gives it a "
         r"value only where the condition holds", 3)  # fmt: skip
def bound_in_one_branch(x: Any) -> Any:
    if x > 0:
        y = x
    return y


@refused(r"y has no value here: .* it is f32\[\] where the condition holds, and f32\[3\] where", 5)
def shapes_differ(x: Any) -> Any:
    if x > 0:
        y = x
    else:
        y = pl.zeros(3)
    return y + 1


@refused(r"y has no value here: .* f32\[\] where the condition holds, and i32\[\] where not", 5)
def dtypes_differ(x: Any) -> Any:
    if x > 0:
        y = x
    else:
        y = x.astype("int32")
    return y + 1


@refused(r"y has no value here: .* a list of 2 .* where the condition holds, and a list of 1", 6)
def structures_differ(x: Any) -> Any:
    y = [x]
    if x > 0:
        y.append(x)
    else:
        x = -x
    return y


@refused(r"what the function returns has no value here: .* None where not", 1)
def returns_nothing_on_one_path(x: Any) -> Any:
    if x > 0:
        return x


@refused(r"returns has no value here: .* it is 'a' where the condition holds, and 'b' where not", 1)
def strings_differ(x: Any) -> Any:
    if x > 0:
        return "a"
    return "b"


@refused(r"y has no value here: the loop at .* it is f32\[1\] before a turn, and f32\[2\] after", 2)
def shape_changes_in_a_loop(x: Any) -> Any:
    y = x.reshape(1)
    while y.sum() < 10:
        y = pl.concatenate([y, y])
    return y


@refused(r"k has no value here: the loop .* it is i32\[\] before a turn, and f32\[\] after it", 2)
def dtype_changes_in_a_loop(x: Any) -> Any:
    k = x.astype("int32")
    while k < 10:
        k = k + x
    return k


@refused(r"s has no value here: the loop .* it is 'a' before a turn, and 'ab' after it", 4)
def string_grows_in_a_loop(x: Any) -> Any:
    s = "a"
    while x < 10:
        x = x * 2
        s = s + "b"
    return x, s


@refused(r"xs has no value here: the loop .* a list of 0 .* a list of 1 \(f32\[\]\) after it", 4)
def list_grows_in_a_loop_of_unknown_length(x: Any) -> Any:
    xs: list[Any] = []
    while x < 10:
        x = x * 2
        xs.append(x)
    return xs


@refused(r"y has no value here: the loop at .* may make no turn: give it a value before", 4)
def bound_only_in_turns(x: Any) -> Any:
    while x < 10:
        y = x
        x = x * 2
    return y


@refused(r"conditional expression: both sides must have one type: it is 1 where .* None where", 1)
def expression_of_two_types(x: Any) -> Any:
    return 1 if x > 0 else None


@refused(r"raise: this depends on a tensor", 2)
def raises_in_a_branch(x: Any) -> Any:
    if x < 0:
        raise ValueError("negative")
    return x


@refused(r"the `if` of a comprehension depends on a tensor", 1)
def filters(x: Any) -> Any:
    return [v for v in x.reshape(1) if v > 0]


@refused(r"range: how many numbers there are depends on a tensor", 1)
def comprehension_over_a_range(x: Any) -> Any:
    return [i for i in range(x.astype("int64"))]


@refused(r"sorted: the order of recorded tensors is not known.*use pellucid.sort", 1)
def sorts(x: Any) -> Any:
    return sorted([x, -x])[0]


@refused(r"adds to this list, so it cannot look into it", 3)
def looks_into_a_growing_list(x: Any) -> Any:
    seen = [x]
    for row in pl.ones(20):
        seen.append(row + seen[-1])
    return seen[-1]


@refused(r"name is 'a' where|mode has no value here", 5)
def mode_is_chosen_by_a_tensor(x: Any) -> Any:
    if x > 0:
        mode = "a"
    else:
        mode = "b"
    return x if mode == "a" else -x


@refused(r"finally` block cannot be converted", 1)
def returns_in_finally(x: Any) -> Any:
    try:
        y = x
    finally:
        return y  # noqa: B012


@refused(r"`:=` in the right side of `and` or `or`", 1)
def binds_in_an_operand(x: Any) -> Any:
    if x > 0 and (y := x * 2) > 3:
        return y
    return x


@refused(r"`locals` sees the variables of one function", 1)
def looks_at_locals(x: Any) -> Any:
    return locals()["x"]


@refused(r"a generator stops in the middle", -1)
def generates(x: Any) -> Iterator[Any]:
    yield x


@refused(r"`async` code cannot be converted", -1)
async def waits(x: Any) -> Any:
    return x


@pytest.mark.parametrize(("fn", "message", "line"), CASES, ids=lambda v: getattr(v, "__name__", ""))
def test_is_refused_with_its_line(fn: Any, message: str, line: int) -> None:
    message = message.replace("{if}", r"\d+")
    with pytest.raises(PellucidError, match=message) as caught:
        pl.jit(fn, convert=True)(pl.Tensor(1.0))
    lines = [int(n) for n in re.findall(r"test_refused\.py:(\d+)", str(caught.value))]
    assert line in lines or not lines, f"{line} is not in: {caught.value}"


def test_truth_of_many_elements() -> None:
    with pytest.raises(PellucidError, match="only one element has a truth value"):
        pl.jit(lambda x: 1 if x else 2, convert=True)(pl.ones(2))


def test_no_source() -> None:
    with pytest.raises(TraceError, match="source of this function is not available"):
        pl.convert(eval("lambda x: x"))


@pytest.mark.parametrize("it", [len, int, pl.Tensor, 3])
def test_no_python_function(it: Any) -> None:
    with pytest.raises(ArgumentError, match="takes a function written in Python"):
        pl.convert(it)


def test_recursion_that_a_tensor_decides() -> None:
    with pytest.raises(RecursionError):
        pl.jit(endless, convert=True)(pl.Tensor(5.0))


def endless(x: Any) -> Any:
    return x if x < 0 else endless(x - 1)


def test_gradient_that_begins_in_a_branch() -> None:
    w = pl.Parameter([1.0])

    def step(x: Any) -> Any:
        if x > 0:
            (w * x).sum().backward()
        return x

    with pytest.raises(TraceError, match="a gradient begins to exist in a block"):
        pl.jit(step, convert=True)(pl.Tensor(1.0))


def test_change_in_place_of_what_only_the_program_knows() -> None:
    @pl.jit(convert=True)
    def run(x: Any) -> Any:
        y = z = x.clone()
        if x > 0:
            y = x * 2
        y += 1
        return y, z

    with pytest.raises(TraceError, match="may have made this one anew, or left it as it was"):
        run(pl.Tensor(1.0))


def test_a_set_changed_in_a_branch() -> None:
    @pl.jit(convert=True)
    def run(x: Any) -> Any:
        seen = {1}
        if x > 0:
            seen.add(2)
        return x + len(seen)

    with pytest.raises(TraceError, match=r"what is in a set has no value here: .* a set where"):
        run(pl.Tensor(1.0))
