"""Where the emitter puts instructions."""

from __future__ import annotations

from pellucid.codegen.llvm_emitter import Function, Module


def test_invariant_instructions_leave_their_loop_and_are_shared() -> None:
    module = Module()
    function = Function(module, "f", "ptr %p, i64 %n", "nounwind")
    with function.loop("%n", sure=False) as i:
        outside = function.pure("mul i64 %n, 4")
        inside = function.pure(f"add i64 {i}, {outside}")
        assert function.pure("mul i64 %n, 4") == outside
        function.effect(f"store i64 {inside}, ptr %p")
    function.finish()
    lines = module.text().splitlines()
    body = next(n for n, line in enumerate(lines) if line.startswith("body"))
    assert lines.index(f"  {outside} = mul i64 %n, 4") < body
    assert lines.index(f"  {inside} = add i64 {i}, {outside}") > body


def test_a_load_stays_behind_its_condition_but_arithmetic_does_not() -> None:
    module = Module()
    function = Function(module, "f", "ptr %p, i1 %c", "nounwind")

    def then() -> None:
        function.pure("load i64, ptr %p", function.certain_level)
        function.pure("ptrtoint ptr %p to i64")

    function.branch("%c", then)
    function.finish()
    text = module.text()
    assert text.index("then") < text.index("load i64")
    assert text.index("ptrtoint") < text.index("br i1 %c")


def test_equal_values_in_sibling_branches_are_not_shared() -> None:
    module = Module()
    function = Function(module, "f", "ptr %p, i1 %c", "nounwind")
    names: list[str] = []

    def side() -> None:
        names.append(function.pure("load i64, ptr %p", function.certain_level))

    function.branch("%c", side, side)
    assert len(set(names)) == 2


def test_declarations_and_helpers_appear_once() -> None:
    module = Module()
    for _ in range(2):
        module.declare("float @tanf(float)")
        module.define("g", "define void @g() {\n  ret void\n}")
    assert module.text().count("@tanf") == 1
    assert module.text().count("@g") == 1
