"""What the parser refuses, and how it says so. What it accepts is in test_printer.py."""

from __future__ import annotations

import pytest

from pellucid.core.errors import VerifyError
from pellucid.graph.parser import parse_graph
from tests.graph.records import RECORDS

CATALOGUE = {op.name: op for op in RECORDS}
NODE = "graph f(x: f32[2]) {{\n  {}\n  return x\n}}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("graph f(x: f32[2) {", "line 1: expected ',', got '\\)'"),
        ("graph f(x: f33[2]) {", "line 1: unknown dtype 'f33'. Fix: did you mean 'f32'"),
        ("graph f(x: f32[-2]) {", "line 1: expected a size, got '-2'"),
        ("graph f(x: f32[2], x: f32[2]) {", "line 1: 'x' is defined twice"),
        ("graf f()", "line 1: expected 'graph', got 'graf'"),
        ("graph 7()", "line 1: expected the graph's name, got '7'"),
        ("graph f() {\n  return y\n}", "line 2: 'y' is not defined above"),
        ("graph f() {}", "line 1: expected a word, got '}'"),
        ("graph f() {\n  return\n}\nmore", "line 4: expected the end, got 'more'"),
        ("graph f() {\n  return", "line 2: expected a word, got 'the end'"),
        ("graph f($) {", "line 1: cannot read"),
        (NODE.format("y: f32[2] = any_atrs(x)"), "line 2: unknown op 'any_atrs'. Fix: did you"),
        (NODE.format("y: f32[3] = any_attrs(x)"), "line 2: y is f32\\[2\\] by any_attrs's rule"),
        (NODE.format("x: f32[2] = any_attrs(x)"), "line 2: 'x' is defined twice"),
        (NODE.format("y: f32[2] = any_attrs(z)"), "line 2: 'z' is not defined above"),
        (NODE.format("y: f32[2] = any_attrs()"), "line 2: any_attrs does not take these"),
        (NODE.format("y: f32[2] = checked(x, limit=1)"), "line 2: .*too many elements"),
        (NODE.format("y: f32[2] = twice(x)"), "line 2: twice has 2 outputs, the text 1"),
        (NODE.format("y: f32[2] = any_attrs(x, k=1, k=2)"), "line 2: attribute 'k' is given twice"),
        (NODE.format("y: f32[2] = any_attrs(k=1, x)"), "line 2: operand 'x' comes after"),
        (NODE.format("y: f32[2] = any_attrs(x, k=what)"), "line 2: 'what' is no attribute value"),
        (NODE.format("y: f32[2] = any_attrs(x, k='\\x')"), "line 2: bad string"),
        (
            NODE.format("y: f32[2] = any_attrs(x, k=array(f32[2], [1]))"),
            "line 2: the elements do not make f32\\[2\\]",
        ),
        (
            NODE.format("y: f32[2] = any_attrs(x, k=array(u8[1], [300]))"),
            "line 2: the elements do not make u8\\[1\\]",
        ),
        (
            NODE.format("y: f32[2] = any_attrs(x, k=array(bool[1], [yes]))"),
            "line 2: the elements do not make bool\\[1\\]",
        ),
        (
            NODE.format('y: f32[2] = any_attrs(x, k=array(f32[1], "AAA"))'),
            "line 2: the elements do not make f32\\[1\\]",
        ),
    ],
)
def test_errors_name_the_line_and_the_rule(text: str, message: str) -> None:
    with pytest.raises(VerifyError, match="^parse_graph: " + message):
        parse_graph(text, CATALOGUE)


def test_comments_and_spacing_do_not_matter() -> None:
    text = """# a note
    graph f(x: f32[2],) {   # the head
      # about y
      y: f32[2] = any_attrs(
          x,
          k=(1, 2,),
      )  # user.py:3
      return y }
    """
    graph = parse_graph(text, CATALOGUE)
    assert graph.nodes[0].source == "user.py:3"
    assert graph.nodes[0].attrs["k"] == (1, 2)


def test_a_comment_on_the_next_line_is_no_source() -> None:
    text = "graph f(x: f32[2]) {\n  y: f32[2] = any_attrs(x)\n  # note\n  return y\n}"
    assert parse_graph(text, CATALOGUE).nodes[0].source == ""
