"""The tour's report: one HTML file that needs nothing else.

Enters what the tour found; leaves the file. Measures and computes nothing itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from pellucid.codegen.kernel import CompiledKernel
from pellucid.command import programs
from pellucid.command.figures import (
    memory_bars,
    memory_picture,
    readable_bytes,
    roofline,
    training_curve,
)
from pellucid.command.training import Trained
from pellucid.core.files import write_atomically
from pellucid.core.version import VERSION
from pellucid.graph.ir import Graph
from pellucid.graph.stats import graph_cost
from pellucid.passes.manager import PassStats
from pellucid.runtime.machine import MachineLimits
from pellucid.runtime.profiler import KernelTime, Profile
from pellucid.tensor.lowered import Lowered


@dataclass(slots=True)
class Findings:
    """What the report shows.

    Attributes:
        model: name of the tour's model.
        trained: the training run.
        lowered: the training step, in every form.
        profile: its kernels' times.
        limits: what the machine can do.
        notes: what came of export and reload, by heading.
    """

    model: str
    trained: Trained
    lowered: Lowered
    profile: Profile
    limits: MachineLimits
    notes: dict[str, str] = field(default_factory=dict)


def write_report(findings: Findings, path: Path) -> Path:
    """Write the report, whole or not at all; returns its path.

    Raises:
        OSError: the file cannot be written.
    """
    template = (files("pellucid.command") / "report.html").read_text(encoding="utf-8")
    text = Template(template).substitute(_sections(findings))
    write_atomically(path, text.encode())
    return path


def _sections(f: Findings) -> dict[str, str]:
    lowered, plan, trained = f.lowered, f.lowered.memory, f.trained
    limits, calls = f.limits, f.profile.calls
    slowest = sorted(calls, key=lambda c: -c.seconds)
    return {
        "model": escape(f.model),
        "version": VERSION,
        "facts": _facts(_headline(f)),
        "curve": training_curve(trained.losses, trained.accuracies),
        "program": escape(inspect.getsource(programs)),
        "recorded_summary": _graph_summary(lowered.graph),
        "recorded": escape(str(lowered.graph)),
        "pass_rows": "".join(_pass_row(s) for s in lowered.passes.stats if s.changed),
        "pass_graphs": "".join(_pass_graph(s) for s in lowered.passes.stats if s.changed),
        "kernels_intro": (
            f"{len(calls)} calls of {len(lowered.loops)} distinct kernels. Each begins as a plain "
            "loop nest; schedule steps, each checked to be legal, make it fast; then it is written "
            "as LLVM IR and compiled."
        ),
        "kernels": _kernels(f),
        "memory": memory_picture(plan),
        "memory_bars": memory_bars(plan),
        "time_intro": (
            f"{f.profile.seconds * 1e6:,.0f} us in kernels, {f.profile.threads} threads, medians "
            f"of {f.profile.repeats} runs. Each dot is a kernel that computes, larger if it takes "
            "longer. Lines are the most this machine was measured to do with data from memory "
            "(red) and from its caches (grey). The table's last columns say how close each kernel "
            "comes to its roof: arithmetic, or the nearest memory that holds its data."
        ),
        "roofline": roofline(f.profile, limits),
        "time_rows": "".join(_time_row(c, f.profile.seconds, limits) for c in slowest),
        "limits": escape(limits.table()),
        "notes": "".join(
            f"<h3>{escape(head)}</h3><pre>{escape(text)}</pre>" for head, text in f.notes.items()
        ),
    }


def _headline(f: Findings) -> dict[str, str]:
    return {
        "test accuracy": f"{f.trained.accuracy:.2%}",
        "training": f"{f.trained.seconds:.1f} s, {len(f.trained.losses):,} steps",
        "first step, compiled": f"{f.trained.first_step_seconds:.2f} s",
        "kernels of one step": f"{f.profile.seconds * 1e6:,.0f} us",
        "arena": readable_bytes(f.lowered.memory.peak),
    }


def _facts(facts: dict[str, str]) -> str:
    return "".join(f"<li><b>{escape(v)}</b>{escape(k)}</li>" for k, v in facts.items())


def _graph_summary(graph: Graph) -> str:
    cost = graph_cost(graph)
    return f"{len(graph.nodes)} nodes, {cost.flops:,} operations, {cost.bytes:,} bytes"


def _pass_row(s: PassStats) -> str:
    cells = (
        f"{s.nodes_before} → {s.nodes_after}",
        f"{s.cost_before.flops:,} → {s.cost_after.flops:,}",
        f"{s.cost_before.bytes:,} → {s.cost_after.bytes:,}",
        f"{s.seconds * 1e3:.2f}",
    )
    return f"<tr><td>{escape(s.name)}</td>{''.join(f'<td>{c}</td>' for c in cells)}</tr>"


def _pass_graph(s: PassStats) -> str:
    if s.after is None:
        return ""
    head = f"The graph after {escape(s.name)} <small>{_graph_summary(s.after)}</small>"
    return _details(head, str(s.after))


def _details(summary: str, text: str) -> str:
    return f"<details><summary>{summary}</summary><pre>{escape(text)}</pre></details>"


def _kernels(f: Findings) -> str:
    """Each distinct kernel, the one that takes most time first."""
    calls: dict[str, list[KernelTime]] = {}
    for symbol, call in zip(f.lowered.compiled.symbols, f.profile.calls, strict=True):
        calls.setdefault(symbol, []).append(call)
    kernels, total = f.lowered.compiled.kernels, f.profile.seconds
    spent = {symbol: sum(c.seconds for c in of) for symbol, of in calls.items()}
    order = sorted(kernels, key=lambda symbol: -spent[symbol])
    return "".join(_kernel(kernels[s], calls[s], spent[s] / max(total, 1e-12)) for s in order)


def _kernel(kernel: CompiledKernel, calls: list[KernelTime], share: float) -> str:
    sources = tuple(dict.fromkeys(s for call in calls for s in call.sources))
    count = f"{len(calls)} calls, " if len(calls) > 1 else ""
    head = (
        f"{escape(kernel.kernel.name)} <small>{count}{share:.1%} of the time; "
        f"{escape(', '.join(sources))}</small>"
    )
    parts = (
        f"<pre>{escape(_source_text(sources))}</pre>",
        _details("loop nest as lowered", str(kernel.kernel)),
        _staircase(kernel),
        _details("loop nest after scheduling", str(kernel.scheduled)),
        _details("LLVM IR", kernel.ir),
        _details("assembly", kernel.assembly),
    )
    return f"<details><summary>{head}</summary>{''.join(parts)}</details>"


def _source_text(sources: Sequence[str]) -> str:
    """The user's lines, where they are the tour's own: `programs.py:35  x = ...`."""
    name = Path(programs.__file__).name
    lines = inspect.getsource(programs).splitlines()
    found = []
    for source in sources:
        file, _, number = source.rpartition(":")
        text = lines[int(number) - 1].strip() if file == name else ""
        found.append(f"{source}  {text}".rstrip())
    return "\n".join(found)


def _staircase(kernel: CompiledKernel) -> str:
    """Each schedule step, with the loop nest it made."""
    steps = kernel.steps[1:]
    inside = "".join(
        _details(escape(f"{i}. {s.name}({', '.join(map(str, s.args))})"), str(s.kernel))
        for i, s in enumerate(steps, 1)
    )
    head = f"schedule: {len(steps)} steps, each with the loop nest it made"
    return f"<details><summary>{head}</summary>{inside}</details>"


def _limit(call: KernelTime, limits: MachineLimits) -> str:
    """What the kernel's roof is: `arithmetic`, or the level its data comes from."""
    computing = call.flops / limits.flops[limits.threads]
    return "arithmetic" if call.roof is not None and call.roof <= computing else call.level


def _time_row(call: KernelTime, total: float, limits: MachineLimits) -> str:
    share = call.seconds / max(total, 1e-12)
    roof = "" if call.roof is None else f"{call.roof / max(call.seconds, 1e-9):.0%}"
    limit = _limit(call, limits)
    where = escape(", ".join(call.sources))
    return (
        f"<tr><td>{escape(call.kernel)}<br><small>{where}</small></td>"
        f"<td>{call.seconds * 1e6:,.1f}</td><td>{share:.1%}</td>"
        f'<td class="bar"><i style="width:{share:.1%}"></i></td>'
        f"<td>{call.flops_per_second / 1e9:.1f}</td><td>{call.bytes_per_second / 1e9:.1f}</td>"
        f"<td>{roof}</td><td>{limit}</td></tr>"
    )
