"""The tour's report: one HTML file that needs nothing else.

Enters what the tour found; leaves the file. Measures and computes nothing itself.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from pellucid.codegen.kernel import CompiledKernel
from pellucid.command import programs
from pellucid.command.figures import (
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
        "memory_facts": _facts(
            {
                "arena": readable_bytes(plan.peak),
                "lower bound": readable_bytes(plan.bound),
                "without reuse": readable_bytes(plan.no_reuse),
            }
        ),
        "time_intro": (
            f"{f.profile.seconds * 1e6:,.0f} us in kernels, {f.profile.threads} threads, medians "
            f"of {f.profile.repeats} runs. Each dot is a kernel, larger if it takes longer. Red: "
            f"the most this machine was measured to do, {limits.flops[limits.threads] / 1e9:.0f} "
            f"GFLOP/s and {limits.read['DRAM'][limits.threads] / 1e9:.0f} GB/s from memory; grey: "
            "from its caches."
        ),
        "roofline": roofline(f.profile, limits),
        "time_rows": "".join(_time_row(c, f.profile.seconds) for c in slowest),
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
    spent: dict[str, float] = {}
    sources: dict[str, tuple[str, ...]] = {}
    for symbol, call in zip(f.lowered.compiled.symbols, f.profile.calls, strict=True):
        spent[symbol] = spent.get(symbol, 0.0) + call.seconds
        sources[symbol] = tuple(dict.fromkeys((*sources.get(symbol, ()), *call.sources)))
    kernels = f.lowered.compiled.kernels
    order = sorted(kernels, key=lambda symbol: -spent[symbol])
    return "".join(_kernel(kernels[s], spent[s] / f.profile.seconds, sources[s]) for s in order)


def _kernel(kernel: CompiledKernel, share: float, sources: tuple[str, ...]) -> str:
    steps = "\n".join(f"{s.name}({', '.join(map(str, s.args))})" for s in kernel.steps[1:])
    parts = (
        _details("loop nest as lowered", str(kernel.kernel))
        + _details(f"schedule: {len(kernel.steps) - 1} steps", steps or "none")
        + _details("loop nest after scheduling", str(kernel.scheduled))
        + _details("LLVM IR", kernel.ir)
        + _details("assembly", kernel.assembly)
    )
    where = escape(", ".join(sources))
    head = f"{escape(kernel.kernel.name)} <small>{share:.1%} of the time; {where}</small>"
    return f"<details><summary>{head}</summary>{parts}</details>"


def _time_row(call: KernelTime, total: float) -> str:
    share = call.seconds / max(total, 1e-12)
    roof = "" if call.roof is None else f"{call.roof / max(call.seconds, 1e-9):.0%}"
    where = escape(", ".join(call.sources))
    return (
        f"<tr><td>{escape(call.kernel)}<br><small>{where}</small></td>"
        f"<td>{call.seconds * 1e6:,.1f}</td><td>{share:.1%}</td>"
        f'<td class="bar"><i style="width:{share:.1%}"></i></td>'
        f"<td>{call.flops_per_second / 1e9:.1f}</td><td>{call.bytes_per_second / 1e9:.1f}</td>"
        f"<td>{roof}</td></tr>"
    )
