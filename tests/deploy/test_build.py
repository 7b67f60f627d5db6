"""Finding a compiler, compiling, calling: what goes wrong and how it is said."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import pellucid as pl
from pellucid.core.errors import ArgumentError, CompileError, DTypeError, ShapeError
from pellucid.deploy import CExport, build, compile_c, export_c, find_compiler
from tests.deploy.programs import needs_cc


def doubler(folder: Path, factor: float = 2.0) -> CExport:
    x = np.zeros((2, 3), np.float32)
    return export_c(lambda x: x * factor + x.sum(), x, name="doubler", folder=folder)


def test_no_compiler_is_said_with_where_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = doubler(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    assert find_compiler() is None
    with pytest.raises(CompileError, match=r"no C compiler.*apt install gcc.*set CC"):
        compile_c(export)


@pytest.mark.skipif(sys.platform == "win32", reason="makes a shell script")
def test_cc_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("gcc", "mine"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    assert find_compiler() == str(tmp_path / "gcc")
    monkeypatch.setenv("CC", "mine -O1")
    assert find_compiler() == "mine -O1"
    monkeypatch.setenv("CC", "not-there")
    warnings: list[tuple[object, ...]] = []
    monkeypatch.setattr(build.LOG, "warning", lambda *args: warnings.append(args))
    assert find_compiler() == str(tmp_path / "gcc")
    assert [w[1:] for w in warnings] == [("not-there", f"taking {tmp_path / 'gcc'}")]


@pytest.mark.parametrize("command", ["gcc '", "", " "])
def test_commands_that_are_none(command: str, tmp_path: Path) -> None:
    with pytest.raises(
        ArgumentError, match=r"compile_c: compiler (cannot be split|has no program)"
    ):
        compile_c(doubler(tmp_path), compiler=command)


def test_cc_with_half_a_quotation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "gcc '")
    with pytest.raises(ArgumentError, match=r"\$CC cannot be split into words \(No closing"):
        find_compiler()


@needs_cc
def test_the_compilers_words_are_shown(tmp_path: Path) -> None:
    export = doubler(tmp_path)
    with pytest.raises(CompileError, match=r"(?s)failed:.*forgotten"):
        compile_c(export, flags=("-Dfloat=forgotten",))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["doubler.c", "doubler.h"]


def test_a_compiler_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match=r"no-such-cc.*failed"):
        compile_c(doubler(tmp_path), compiler="no-such-cc")


@needs_cc
def test_arrays_that_do_not_fit(tmp_path: Path) -> None:
    program = compile_c(doubler(tmp_path))
    x = np.ones((2, 3), np.float32)
    with pytest.raises(ArgumentError, match="takes 1 arrays, got count 2"):
        program(x, x)
    with pytest.raises(ShapeError, match=r"x has another shape.*f32\[2, 3\].*\(3, 2\)"):
        program(x.T)
    with pytest.raises(DTypeError, match=r"x has another dtype.*astype\('float32'\)"):
        program(x.astype(np.float64))


@needs_cc
def test_tensors_and_strided_arrays_are_taken(tmp_path: Path) -> None:
    program = compile_c(doubler(tmp_path))
    x = np.arange(12, dtype=np.float32).reshape(3, 4).T[::2]
    expected = x * 2 + x.sum()
    np.testing.assert_allclose(program(x)[0], expected, rtol=1e-6)
    np.testing.assert_allclose(program.run(pl.Tensor(x))[0], expected, rtol=1e-6)


@needs_cc
def test_a_new_export_of_the_same_name_is_another_program(tmp_path: Path) -> None:
    x = np.ones((2, 3), np.float32)
    two = compile_c(doubler(tmp_path))
    again = compile_c(doubler(tmp_path))
    three = compile_c(doubler(tmp_path, 3.0))
    assert two.library == again.library != three.library
    assert [p(x)[0][0, 0] for p in (two, again, three)] == [8, 8, 9]


@needs_cc
@pytest.mark.parametrize("folder", [".", "", "below"])
def test_relative_folders(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    program = compile_c(doubler(Path(folder)))
    assert program(np.ones((2, 3), np.float32))[0][0, 0] == 8


@pytest.mark.skipif(sys.platform == "win32", reason="makes a shell script")
def test_a_library_that_cannot_be_loaded_does_not_stay(tmp_path: Path) -> None:
    script = tmp_path / "cc"  # writes text where the library should be
    script.write_text('#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done; echo text > "$2"\n')
    script.chmod(0o755)
    with pytest.raises(CompileError, match="cannot be loaded"):
        compile_c(doubler(tmp_path), compiler=str(script))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cc", "doubler.c", "doubler.h"]


@needs_cc
def test_files_that_were_exported_again_are_refused(tmp_path: Path) -> None:
    old = doubler(tmp_path)
    new = export_c(
        lambda x: x + 1.0, np.zeros((50, 7), np.float32), name="doubler", folder=tmp_path
    )
    with pytest.raises(
        ArgumentError, match=r"doubler\.c and doubler\.h were .* exported again.*Fix"
    ):
        compile_c(old)
    x = np.ones((50, 7), np.float32)
    np.testing.assert_array_equal(compile_c(new)(x)[0], x + 1)
    new.header.unlink()
    with pytest.raises(ArgumentError, match="cannot be read"):
        compile_c(new)


@needs_cc
def test_threads_take_turns(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32) / 8
    deep = pl.asarray(weight)
    x = np.random.default_rng(1).normal(size=(32, 64)).astype(np.float32)
    export = export_c(lambda x: pl.matmul(pl.tanh(pl.matmul(x, deep)), deep), x, folder=tmp_path)
    program = compile_c(export)
    expected = {s: program(np.roll(x, s))[0] for s in range(4)}
    wrong: list[int] = []

    def work(shift: int) -> None:
        for _ in range(50):
            if not np.array_equal(program(np.roll(x, shift))[0], expected[shift]):
                wrong.append(shift)

    threads = [threading.Thread(target=work, args=(s,)) for s in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@needs_cc
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_compilers_that_are_here_have_nothing_to_say(compiler: str, tmp_path: Path) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} on this machine")
    for level in ("-O0", "-O2", "-O3"):
        flags = (level, "-Wall", "-Wextra", "-pedantic", "-Werror")
        compile_c(doubler(tmp_path), compiler=compiler, flags=flags)


@needs_cc
def test_the_header_is_c_plus_plus_too(tmp_path: Path) -> None:
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("no C++ compiler on this machine")
    export = doubler(tmp_path)
    (tmp_path / "main.cpp").write_text(
        '#include "doubler.h"\nint main() { return doubler_run(nullptr, nullptr) == 1 ? 0 : 1; }\n'
    )
    command = [str(find_compiler()), "-std=c99", "-c", str(export.source), "-o", "model.o"]
    subprocess.run(command, check=True, cwd=tmp_path)
    flags = ["-std=c++11", "-Wall", "-Wextra", "-pedantic", "-Werror"]
    command = [compiler, *flags, "main.cpp", "model.o", "-o", "program", "-lm"]
    subprocess.run(command, check=True, cwd=tmp_path)
    subprocess.run([str(tmp_path / "program")], check=True)
