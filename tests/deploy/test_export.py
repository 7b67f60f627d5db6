"""Exported programs against Python: values, headers, errors."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pellucid as pl
from pellucid import nn
from pellucid.core.errors import ArgumentError, DTypeError, PellucidError, TraceError
from pellucid.deploy import compile_c, export_c
from pellucid.nn.gpt import GPT, GPTConfig
from tests.deploy.programs import (
    CNN,
    STRICT,
    assert_close,
    compile_main,
    evaluated,
    images,
    mlp,
    needs_cc,
)


def tiny_gpt() -> GPT:
    return GPT(GPTConfig(vocab_size=11, block_size=6, n_layer=2, n_head=2, n_embd=16))


def tokens(batch: int) -> NDArray[Any]:
    return np.random.default_rng(batch).integers(0, 11, (batch, 6))


def rows(batch: int) -> NDArray[Any]:
    return np.random.default_rng(batch).normal(size=(batch, 12)).astype(np.float32)


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], NDArray[Any]]]] = {
    "mlp": (mlp, rows), "cnn": (CNN, images), "gpt": (tiny_gpt, tokens),
}  # fmt: skip


@needs_cc
@pytest.mark.parametrize("schedule", [True, False], ids=["scheduled", "plain"])
@pytest.mark.parametrize("batch", [1, 17])
@pytest.mark.parametrize("kind", MODELS)
def test_models_equal_python(kind: str, batch: int, schedule: bool, tmp_path: Path) -> None:
    make, data = MODELS[kind]
    model, x = make(), data(batch)
    export = export_c(model, x, name=kind, folder=tmp_path, schedule=schedule)
    program = compile_c(export, flags=("-O2", *STRICT))
    for shift in range(3):  # again, to see that nothing of the run before is left
        arrays = np.roll(x, shift)
        assert_close(program(arrays)[0], evaluated(model, arrays))


@needs_cc
@pytest.mark.parametrize(
    ("channels", "groups", "kernel", "stride", "padding", "size"),
    [(1, 1, 3, 1, 1, 17), (6, 2, 3, 2, 0, 9), (4, 4, 2, 1, 2, 5), (3, 1, 5, 3, 2, 11)],
)
def test_convolutions(  # noqa: PLR0913, PLR0917  # one per column of the table
    channels: int, groups: int, kernel: int, stride: int, padding: int, size: int, tmp_path: Path
) -> None:
    conv = nn.Conv2d(channels, 12, kernel, stride=stride, padding=padding, groups=groups)
    x = np.random.default_rng(size).normal(size=(3, channels, size, size)).astype(np.float32)
    program = compile_c(export_c(conv, x, folder=tmp_path), flags=("-O3", *STRICT))
    assert_close(program(x)[0], evaluated(conv, x))


@needs_cc
@pytest.mark.parametrize("schedule", [True, False], ids=["scheduled", "plain"])
def test_attention_in_blocks(schedule: bool, tmp_path: Path) -> None:
    def attend(q: Any, k: Any, v: Any) -> Any:
        return nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)

    q, k, v = (
        np.random.default_rng(i).normal(size=(2, 150, 9)).astype(np.float32) for i in range(3)
    )
    export = export_c(attend, q, k, v, folder=tmp_path, schedule=schedule)
    (got,) = compile_c(export, flags=("-O2", *STRICT))(q, k, v)
    assert_close(got, pl.jit(attend)(pl.Tensor(q), pl.Tensor(k), pl.Tensor(v)).numpy())


@needs_cc
def test_several_inputs_and_outputs_of_all_kinds(tmp_path: Path) -> None:
    def fn(pair: dict[str, Any], scale: float, n: Any) -> Any:
        a, b = pair["a"], pair["b"]
        return {"sum": a * scale + b, "less": a < b, "same": a, "n": n + 1, "none": None}

    a, b = (np.random.default_rng(i).normal(size=(3, 5)) for i in range(2))
    n = np.array(41)
    export = export_c(fn, {"a": a, "b": b}, 2.5, n, name="several", folder=tmp_path)
    assert [p.name for p in export.inputs] == ["pair['a']", "pair['b']", "n"]
    assert [p.parameter for p in export.inputs] == ["pair_a", "pair_b", "n"]
    assert [p.parameter for p in export.outputs] == ["y_sum", "y_less", "y_same", "y_n"]
    total, less, same, more = compile_c(export, flags=("-O2", *STRICT))(a, b, n)
    np.testing.assert_allclose(total, a * 2.5 + b, rtol=1e-12)
    np.testing.assert_array_equal(less, a < b)
    np.testing.assert_array_equal(same, a)
    assert less.dtype == np.bool_
    assert (more.shape, more.item()) == ((), 42)


@needs_cc
def test_names_of_c_are_not_parameters(tmp_path: Path) -> None:
    def fn(int_: Any, double: Any, arena: Any, y: Any, weight_constant: Any) -> Any:
        return double + arena + y + weight_constant + int_ + pl.asarray(np.arange(3.0))

    arrays = [np.full(3, float(i)) for i in range(5)]
    program = compile_c(export_c(fn, *arrays, folder=tmp_path), flags=STRICT)
    np.testing.assert_array_equal(program(*arrays)[0], [10, 11, 12])


@needs_cc
def test_special_values_of_weights_survive(tmp_path: Path) -> None:
    values = [-0.0, 0.0, np.nan, np.inf, -np.inf, 1e-45, -3.4e38, 0.1, 16777217, 5e-324, 2.5]
    arrays = [np.array(values, np.float32), np.array(values)]
    arrays += [
        np.array([np.iinfo(t).min, np.iinfo(t).max, 0, 1, np.iinfo(t).max - 1], t)
        for t in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")
    ]
    arrays.append(np.array([True, False, True]))
    with np.errstate(over="ignore"):
        weights = [pl.asarray(a) for a in arrays]
    program = compile_c(
        export_c(lambda x: tuple(w[x] for w in weights), np.array([0]), folder=tmp_path),
        flags=STRICT,
    )
    for i in range(3):
        for got, array in zip(program(np.array([i])), arrays, strict=True):
            assert got.tobytes() == array[i : i + 1].tobytes()


def test_captured_state_is_constant_and_training_mode_comes_back(tmp_path: Path) -> None:
    model = CNN()
    model.drop.eval()
    export = export_c(model, images(1), name="cnn", folder=tmp_path)
    assert [model.training, model.norm.training, model.drop.training] == [True, True, False]
    text = export.source.read_text()
    # the batch norm is in it
    assert re.search(r"/\* conv1\.weight_scaled\w*_last, float32\[3, 3, 1, 8\] \*/", text)
    assert "/* out.weight transposed, float32[20, 10] */" in text
    assert export.weight_bytes >= 4 * (8 * 9 + 20 * 8 * 9 + 200)


def test_training_mode_comes_back_after_an_error(tmp_path: Path) -> None:
    model = CNN()
    with pytest.raises(PellucidError):
        export_c(model, np.zeros((1, 2, 8, 8), np.float32), folder=tmp_path)
    assert model.training


def test_header_says_what_the_export_says(tmp_path: Path) -> None:
    export = export_c(tiny_gpt(), tokens(3), name="tiny", folder=tmp_path)
    found = dict(re.findall(r"#define (TINY_\w+) (.+)", export.header.read_text()))
    assert found == {
        "TINY_WEIGHT_BYTES": str(export.weight_bytes),
        "TINY_ARENA_BYTES": str(export.arena_bytes),
        "TINY_INPUTS": "1",
        "TINY_OUTPUTS": "1",
        "TINY_INPUT0_SIZE": "18",
        "TINY_INPUT0_RANK": "2",
        "TINY_INPUT0_SHAPE": "{3, 6}",
        "TINY_INPUT0_TYPE": "int64_t",
        "TINY_OUTPUT0_SIZE": str(export.outputs[0].type.size),
        "TINY_OUTPUT0_RANK": str(export.outputs[0].type.rank),
        "TINY_OUTPUT0_SHAPE": export.outputs[0].shape,
        "TINY_OUTPUT0_TYPE": "float",
    }
    assert 0 < export.memory.bound <= export.arena_bytes <= export.memory.no_reuse


def test_source_has_no_heap_and_exports_one_function(tmp_path: Path) -> None:
    text = export_c(CNN(), images(2), name="cnn", folder=tmp_path).source.read_text()
    assert not re.search(r"\b(malloc|calloc|realloc|free|alloca|printf|pthread\w*)\b", text)
    assert set(re.findall(r"#include (.+)", text)) == {'"cnn.h"', "<math.h>", "<string.h>"}
    defined = re.findall(r"^(?!static )\w[\w *]*\(.*\{$", text, re.MULTILINE)
    assert defined == ["int cnn_run(const float *x, float *y) {"]
    assert all(line.startswith("static") for line in re.findall(r"^.* = \{", text, re.MULTILINE))


def test_text_is_the_same_every_time(tmp_path: Path) -> None:
    model = CNN()
    one = export_c(model, images(2), name="cnn", folder=tmp_path / "one")
    two = export_c(model, images(2) + 1, name="cnn", folder=tmp_path / "two")
    assert one.source.read_bytes() == two.source.read_bytes()
    assert one.header.read_bytes() == two.header.read_bytes()
    assert str(tmp_path) not in one.source.read_text()


def test_equal_kernels_are_printed_once(tmp_path: Path) -> None:
    model = nn.Sequential(*(nn.Linear(16, 16) for _ in range(5)))
    export = export_c(model, np.zeros((4, 16), np.float32), folder=tmp_path)
    assert (export.kernels, export.calls) == (1, 5)


def test_plain_loops_need_no_more_memory(tmp_path: Path) -> None:
    fast = export_c(CNN(), images(1), name="fast", folder=tmp_path)
    plain = export_c(CNN(), images(1), name="plain", folder=tmp_path, schedule=False)
    assert plain.arena_bytes <= fast.arena_bytes


MAIN = """\
#include <stdio.h>
#include "small.h"
#include "large.h"
int main(void) {
  static float x[LARGE_INPUT0_SIZE], y[LARGE_OUTPUT0_SIZE];
  static float u[SMALL_INPUT0_SIZE], v[SMALL_OUTPUT0_SIZE];
  const int shape[LARGE_INPUT0_RANK] = LARGE_INPUT0_SHAPE;
  int i;
  for (i = 0; i < LARGE_INPUT0_SIZE; ++i) x[i] = (float)(i % 7) / 7;
  for (i = 0; i < SMALL_INPUT0_SIZE; ++i) u[i] = (float)(i % 7) / 7;
  if (shape[0] != 5 || large_run(0, y) != 1 || small_run(u, 0) != 1) return 2;
  if (large_run(x, y) || small_run(u, v)) return 3;
  for (i = 0; i < LARGE_OUTPUT0_SIZE; ++i) printf("%.9g\\n", (double)y[i]);
  for (i = 0; i < SMALL_OUTPUT0_SIZE; ++i) printf("%.9g\\n", (double)v[i]);
  return 0;
}
"""


@needs_cc
@pytest.mark.parametrize(
    "flags", [("-O2",), ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")],
    ids=["plain", "sanitized"],
)  # fmt: skip
def test_two_exports_in_one_program(flags: tuple[str, ...], tmp_path: Path) -> None:
    model = CNN()
    small = export_c(model, images(1), name="small", folder=tmp_path)
    large = export_c(model, images(5), name="large", folder=tmp_path)
    done = compile_main(tmp_path, MAIN, [small, large], *flags)
    assert (done.returncode, done.stderr) == (0, "")
    got = np.array(done.stdout.split(), np.float32).reshape(6, 10)
    sizes = ((5, 1, 8, 8), (1, 1, 8, 8))
    ramps = [(np.arange(np.prod(s)) % 7 / 7).astype(np.float32).reshape(s) for s in sizes]
    assert_close(got, np.concatenate([evaluated(model, x) for x in ramps]))


@needs_cc
def test_gpt_is_clean_under_sanitizers(tmp_path: Path) -> None:
    export = export_c(tiny_gpt(), tokens(2), name="gpt", folder=tmp_path)
    main = """\
#include "gpt.h"
int main(void) {
  static int64_t x[GPT_INPUT0_SIZE] = {10, 3, -4, 99, INT64_MAX, INT64_MIN};
  static float y[GPT_OUTPUT0_SIZE];
  return gpt_run(x, y);
}
"""
    flags = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    done = compile_main(tmp_path, main, [export], *flags)
    assert (done.returncode, done.stderr) == (0, "")


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "a-b", "1st", "int", "class", "größe", "a.b", "_x", "NULL"])
def test_names_that_c_refuses(name: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="name must be a C identifier"):
        export_c(mlp(), rows(1), name=name, folder=tmp_path)


def test_long_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"at most 100 characters.*got length 300"):
        export_c(mlp(), rows(1), name="a" * 300, folder=tmp_path)
    assert export_c(mlp(), rows(1), name="a" * 100, folder=tmp_path).source_bytes


def test_functions_that_write_state_are_refused(tmp_path: Path) -> None:
    model = CNN()

    def step(x: Any) -> Any:
        return model(x)  # in training mode: batch norm writes its statistics

    with pytest.raises(ArgumentError, match=r"writes state.*norm\.running_mean"):
        export_c(step, images(4), folder=tmp_path)


def test_half_floats_are_refused_with_their_line(tmp_path: Path) -> None:
    with pytest.raises(DTypeError, match=r"no type for float16.*made by cast.*test_export\.py:\d+"):
        export_c(lambda x: pl.astype(x, "float16") + 1, rows(1), folder=tmp_path)
    with pytest.raises(DTypeError, match=r"no type for bfloat16.*argument x"):
        export_c(lambda x: x, pl.asarray(rows(1), "bfloat16"), folder=tmp_path)


@pytest.mark.parametrize(
    ("fn", "args", "text"),
    [
        (lambda x: x + 1, (np.zeros((0, 3)),), "argument x has no elements"),
        (lambda x: x[:0], (np.zeros(3),), "result y has no elements"),
        (lambda: pl.asarray([1.0]), (), "at least one argument must be a tensor"),
        (lambda n: pl.asarray([1.0]) * n, (3,), "at least one argument must be a tensor"),
        (lambda x: None, (np.zeros(3),), "must return tensors"),
        (lambda x: (x, 3), (np.zeros(3),), "must return tensors.*int"),
    ],
)
def test_nothing_in_or_out(
    fn: Callable[..., Any], args: tuple[Any, ...], text: str, tmp_path: Path
) -> None:
    with pytest.raises(ArgumentError, match=text):
        export_c(fn, *args, folder=tmp_path)


def test_exports_inside_a_trace_are_refused(tmp_path: Path) -> None:
    @pl.jit
    def fn(x: Any) -> Any:
        export_c(lambda y: y + 1, np.zeros(3), folder=tmp_path)
        return x

    with pytest.raises(TraceError, match="while a function is traced"):
        fn(np.zeros(3))


def test_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArgumentError, match="cannot write here"):
        export_c(mlp(), rows(1), folder=tmp_path / "file" / "below")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ArgumentError, match="cannot write here"):
        export_c(mlp(), rows(1), folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("before", [False, True])
def test_both_files_or_none(before: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if before:
        export_c(CNN(), images(1), folder=tmp_path)
    files = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    move = Path.replace

    def fails(self: Path, target: Path) -> Path:
        if target.suffix == ".c":
            raise OSError(28, "No space left on device")
        return move(self, target)

    monkeypatch.setattr(Path, "replace", fails)
    with pytest.raises(ArgumentError, match="No space left on device"):
        export_c(mlp(), rows(1), folder=tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == files
