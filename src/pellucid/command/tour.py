"""The tour: train a model, look at every layer it went through, take it away as C and weights.

Enters: the command's options. Leaves: what is printed, and `report.html`, `model.c`, `model.h` and
`model.safetensors` in a folder.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import click
import numpy as np

import pellucid as pl
from pellucid.command.folder import check_folder, hold_folder
from pellucid.command.programs import Array, Problem, Text, make_problem
from pellucid.command.report import Findings, write_report
from pellucid.command.training import Trained, predict_all, train
from pellucid.core.errors import ArgumentError
from pellucid.deploy import compile_c, export_c, find_compiler
from pellucid.graph.stats import graph_cost
from pellucid.runtime.machine import MachineLimits, known_limits, machine_limits
from pellucid.tensor.lowered import Lowered

_LINES, _COLUMNS = 12, 96  # of a long text that are printed; the report has all
_FILES = ("report.html", "model.c", "model.h", "model.safetensors")
_MEASURABLE_S = 5e-6  # kernels that take less are mostly overhead


@dataclass(frozen=True, kw_only=True, slots=True)
class Tour:
    """The options. `steps` and `mnist` may be left out."""

    model: str
    folder: Path
    steps: int | None = None
    seed: int = 0
    mnist: Path | None = None


@dataclass(slots=True)
class _Clock:
    start: float = field(default_factory=time.perf_counter)

    def __call__(self) -> float:
        return time.perf_counter() - self.start


def take_tour(tour: Tour) -> Path:
    """Do everything, in order; returns the report's path.

    Raises:
        ArgumentError: the folder cannot be written or another tour writes into it, MNIST is missing
            or damaged, or `$CC` is no command; before any work is done.
        CompileError: the exported C does not compile.
    """
    check_folder(tour.folder, _FILES)
    with hold_folder(tour.folder):
        return _take(tour, find_compiler())


def _take(tour: Tour, compiler: str | None) -> Path:
    clock = _Clock()
    pl.manual_seed(tour.seed)
    problem = make_problem(tour.model, tour.mnist)
    _heading("1. Data and training")
    trained = _train(problem, tour)
    _heading("2. Layer by layer: the training step")
    lowered = trained.step.lower(*trained.example)  # type: ignore[attr-defined]  # jitted
    limits = _limits()
    findings = Findings(tour.model, trained, lowered, lowered.profile(), limits)
    _show_layers(findings)
    _heading("3. Taking it away")
    logits = predict_all(problem, problem.x_test)
    findings.notes["C99"] = _export(problem, logits, tour.folder, compiler)
    findings.notes["Weights"] = _save_and_reload(problem, logits, tour)
    if isinstance(problem, Text):
        _heading("4. A sample")
        findings.notes["Sample"] = problem.sample(400, tour.seed)
        click.echo(findings.notes["Sample"])
    report = write_report(findings, tour.folder / "report.html")
    click.echo(f"\n{report}: open it in a browser ({report.stat().st_size / 1e6:.1f} MB)")
    click.echo(f"the tour took {clock():.0f} s")
    return report


def _heading(text: str) -> None:
    click.secho(f"\n{text}", bold=True)


def _train(problem: Problem, tour: Tour) -> Trained:
    model, steps = problem.model, tour.steps or problem.steps
    count = sum(p.size for p in model.parameters())
    click.echo(f"{type(model).__name__}: {count:,} parameters; {len(problem.x_test)} test examples")
    trained = train(problem, steps, tour.seed)
    rest = max(trained.seconds - trained.first_step_seconds, 0.0)
    click.echo(
        f"{steps:,} steps in {trained.seconds:.1f} s (the first, which compiles: "
        f"{trained.first_step_seconds:.2f} s; then {rest / max(steps - 1, 1) * 1e3:.2f} ms each, "
        f"data and tests included)"
    )
    click.echo(f"loss {trained.losses[0]:.3f} -> {np.mean(trained.losses[-20:]):.3f}")
    click.secho(f"test accuracy {trained.accuracy:.2%}", bold=True)
    return trained


def _limits() -> MachineLimits:
    if known_limits() is None:
        click.echo("measuring this machine's limits, once ...")
    return machine_limits()


def _show_layers(findings: Findings) -> None:
    lowered, profile = findings.lowered, findings.profile
    recorded, optimised = lowered.graph, lowered.passes.graph
    before, after = graph_cost(recorded), lowered.cost
    click.echo(
        f"graph as recorded: {len(recorded.nodes)} nodes, {before.flops:,} operations, "
        f"{before.bytes:,} bytes"
    )
    _excerpt(str(recorded))
    click.echo("after each pass that changed it (bytes: if every node goes through memory):")
    click.echo(f"  {'':<34}{'nodes':>6}{'operations':>18}{'bytes':>18}")
    for s in lowered.passes.stats:
        if s.changed:
            sizes = f"{s.nodes_after:>6,}{s.cost_after.flops:>18,}{s.cost_after.bytes:>18,}"
            click.echo(f"  {s.name:<34}{sizes}")
    click.echo(f"after the passes: {len(optimised.nodes)} nodes, {after.bytes:,} bytes\n")
    _show_kernel(lowered, profile.slowest)
    plan = lowered.memory
    click.echo(
        f"memory plan: arena {plan.peak:,} B; lower bound {plan.bound:,} B; without reuse "
        f"{plan.no_reuse:,} B\n"
    )
    click.echo(profile.table(12))
    limits = findings.limits
    click.echo(
        f"the machine at best: {limits.flops[limits.threads] / 1e9:.0f} GFLOP/s, "
        f"{limits.read['DRAM'][limits.threads] / 1e9:.0f} GB/s from memory "
        f"({limits.threads} threads)"
    )
    if any((c.roof or 0.0) > 1.15 * c.seconds > _MEASURABLE_S for c in profile.calls):
        click.echo(
            "some kernels were faster than these limits: other work on the machine has made the "
            "limits\ntoo small; measure again with `pellucid machine --again`"
        )


def _show_kernel(lowered: Lowered, number: int) -> None:
    compiled = lowered.compiled.kernel_of(number)
    click.echo(f"the slowest kernel, {compiled.kernel.name}, as lowered:")
    _excerpt(str(compiled.kernel))
    names = [step.name for step in compiled.steps[1:]]
    click.echo(f"after {len(names)} steps ({', '.join(dict.fromkeys(names))}):")
    _excerpt(str(compiled.scheduled))


def _excerpt(text: str) -> None:
    lines = text.rstrip().splitlines()
    for line in lines[:_LINES]:
        click.echo("  " + (line if len(line) <= _COLUMNS else line[: _COLUMNS - 3] + "..."))
    if len(lines) > _LINES:
        click.echo(f"  ... {len(lines) - _LINES} more lines in the report")
    click.echo()


def _export(problem: Problem, logits: Array, folder: Path, compiler: str | None) -> str:
    """Export to C, run it on the test set, compare; returns what to say about it."""
    one = pl.Tensor(problem.x_test[:1])

    def predict(x: pl.Tensor) -> pl.Tensor:
        return problem.logits(problem.model, x)

    export = export_c(predict, one, name="model", folder=folder)
    said = (
        f"{export.source.name} ({export.source_bytes / 1e6:.2f} MB, weights "
        f"{export.weight_bytes:,} B, arena {export.arena_bytes:,} B) and {export.header.name}"
    )
    if compiler is None:
        said += ";\nthere is no C compiler here to try them with (install gcc or clang, or set CC)"
        click.echo(said)
        return said
    program = compile_c(export, compiler=compiler)
    start = time.perf_counter()
    try:
        rows = np.concatenate([program.run(x[None])[0] for x in problem.x_test])
    finally:
        with contextlib.suppress(OSError):  # it was only for trying; some systems hold loaded files
            program.library.unlink()
    each = (time.perf_counter() - start) / len(rows)
    equal = int((rows.argmax(axis=1) == logits.argmax(axis=1)).sum())
    said += (
        f",\ncompiled with {Path(program.command[0]).name}: {equal} of {len(rows)} predictions "
        f"equal Python's, {each * 1e6:,.0f} us each"
    )
    click.echo(said)
    if equal != len(rows):
        raise ArgumentError("tour", "the C program's predictions differ from Python's")
    return said


def _save_and_reload(problem: Problem, logits: Array, tour: Tour) -> str:
    """Save the weights, predict with them in a fresh process; returns what to say about it."""
    path = tour.folder / "model.safetensors"
    pl.save(path, problem.model.state_dict())
    with tempfile.TemporaryDirectory() as scratch:
        inputs, outputs = Path(scratch) / "x.npy", Path(scratch) / "y.npy"
        np.save(inputs, problem.x_test)
        command = [sys.executable, "-m", "pellucid.command.reload", tour.model]
        done = subprocess.run(
            [*command, str(path), str(inputs), str(outputs)],
            env=os.environ, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise ArgumentError(
                "tour", f"the process that reloads the weights failed\n{done.stderr}"
            )
        again = np.load(outputs)
    equal = int((again.argmax(axis=1) == logits.argmax(axis=1)).sum())
    exact = "bit for bit" if np.array_equal(again, logits) else "in the class predicted"
    said = f"{path.name}: reloaded in a fresh process, {equal} of {len(again)} predictions equal"
    said += f" {exact}"
    click.echo(said)
    if equal != len(again):
        raise ArgumentError("tour", "predictions differ after reloading the weights")
    return said
