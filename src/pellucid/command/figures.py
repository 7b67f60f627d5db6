"""The report's pictures, as SVG: a curve, the memory plan, the roofline. Text in, text out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from pellucid.runtime.machine import MachineLimits
from pellucid.runtime.memory_plan import MemoryPlan, Rectangle
from pellucid.runtime.profiler import KernelTime, Profile

_WIDTH, _HEIGHT = 900, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 84, 64, 16, 46


class _Axes:
    """Maps data to the page, and draws the frame: ticks, names, units."""

    def __init__(
        self, x: tuple[float, float], y: tuple[float, float], *, log: bool = False
    ) -> None:
        self.log = log
        self.x_range, self.y_range = self._scaled(x), self._scaled(y)
        self.parts: list[str] = []

    def _scaled(self, ends: tuple[float, float]) -> tuple[float, float]:
        low, high = (self._value(v) for v in ends)
        return low, high if high > low else low + 1.0

    def _value(self, v: float) -> float:
        return math.log10(max(v, 1e-12)) if self.log else v

    def x(self, v: float) -> float:
        low, high = self.x_range
        return _LEFT + (self._value(v) - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, v: float) -> float:
        low, high = self.y_range
        share = (self._value(v) - low) / (high - low)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    def frame(self, x_name: str, y_name: str, x_ticks: Ticks, y_ticks: Ticks) -> None:
        bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
        middle = (_LEFT + right) / 2
        self.parts.append(
            f'<path class="axis" d="M{_LEFT},{_TOP}V{bottom}H{right}"/>'
            f'<text class="name" x="{middle}" y="{_HEIGHT - 6}">{escape(x_name)}</text>'
            f'<text class="name" transform="translate(14,{(_TOP + bottom) / 2}) rotate(-90)">'
            f"{escape(y_name)}</text>"
        )
        for value, label in x_ticks:
            at = self.x(value)
            self.parts.append(
                f'<path class="grid" d="M{at:.1f},{_TOP}V{bottom}"/>'
                f'<text class="tick" x="{at:.1f}" y="{bottom + 16}">{escape(label)}</text>'
            )
        for value, label in y_ticks:
            at = self.y(value)
            self.parts.append(
                f'<path class="grid" d="M{_LEFT},{at:.1f}H{right}"/>'
                f'<text class="tick end" x="{_LEFT - 6}" y="{at + 4:.1f}">{escape(label)}</text>'
            )

    def right(self, name: str, labels: Ticks) -> None:
        """A second scale on the right, for what is drawn in other units."""
        edge, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
        self.parts.append(
            f'<path class="axis" d="M{edge},{_TOP}V{bottom}"/>'
            f'<text class="name" transform="translate({_WIDTH - 8},{(_TOP + bottom) / 2}) '
            f'rotate(-90)">{escape(name)}</text>'
        )
        self.parts += [
            f'<text class="start" x="{edge + 6}" y="{self.y(v) + 4:.1f}">{escape(label)}</text>'
            for v, label in labels
        ]

    def text(self, at: tuple[float, float], towards: tuple[float, float], text: str) -> None:
        """Words that run along the line from one point towards another, a little above it."""
        x, y = self.x(at[0]), self.y(at[1])
        angle = math.degrees(math.atan2(self.y(towards[1]) - y, self.x(towards[0]) - x))
        self.parts.append(
            f'<text class="start" transform="translate({x:.1f},{y:.1f}) rotate({angle:.1f})" '
            f'dx="8" dy="-4">{escape(text)}</text>'
        )

    def line(self, points: Sequence[tuple[float, float]], style: str, title: str = "") -> None:
        path = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        self.parts.append(
            f'<polyline class="{style}" points="{path}"><title>{escape(title)}</title></polyline>'
        )

    def dot(self, x: float, y: float, title: str, radius: float = 4.0) -> None:
        self.parts.append(
            f'<circle cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="{radius:.1f}">'
            f"<title>{escape(title)}</title></circle>"
        )

    def svg(self, label: str) -> str:
        return (
            f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}">'
            f"{''.join(self.parts)}</svg>"
        )


Ticks = Sequence[tuple[float, str]]


def ticks(high: float, count: int = 5) -> list[float]:
    """Round numbers from 0 to `high`, about `count` of them."""
    if high <= 0:
        return [0.0]
    rough = high / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= rough)
    return [i * step for i in range(int(high / step + 1e-9) + 1)]


def readable_bytes(nbytes: float) -> str:
    """`1.5 KB`, `2 MB`."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if nbytes >= size:
            return f"{nbytes / size:.3g} {unit}"
    return f"{nbytes:.0f} B"


def training_curve(losses: Sequence[float], accuracies: Sequence[tuple[int, float]]) -> str:
    """Loss of each step (smoothed, and as it was), and test accuracy where it was taken."""
    high = max(losses)
    axes = _Axes((0, len(losses)), (0, high))
    axes.frame(
        "training step",
        "loss",
        [(t, f"{t:,.0f}") for t in ticks(len(losses))],
        [(t, f"{t:g}") for t in ticks(high)],
    )
    stride = max(1, len(losses) // 400)
    axes.line([(i + 1, losses[i]) for i in range(0, len(losses), stride)], "faint", "loss")
    mean, smooth = losses[0], []
    for i, loss in enumerate(losses):
        mean += 0.05 * (loss - mean)
        if i % stride == 0:
            smooth.append((i + 1, mean))
    axes.line(smooth, "line", "loss, smoothed")
    shares = (0.0, 0.25, 0.5, 0.75, 1.0)
    axes.right("test accuracy", [(share * high, f"{share:.0%}") for share in shares])
    axes.line([(n, a * high) for n, a in accuracies], "second", "test accuracy")
    for n, a in accuracies:
        axes.dot(n, a * high, f"step {n:,}: test accuracy {a:.1%}")
    return axes.svg("training loss and test accuracy")


def memory_picture(plan: MemoryPlan) -> str:
    """Every temporary as a rectangle: kernel calls it lives through, by bytes of the arena."""
    calls = max((r.end for r in plan.rectangles), default=0) + 1
    axes = _Axes((0, calls), (0, max(plan.peak, 1)))
    axes.frame(
        "kernel call, in the order they run",
        "offset in the arena",
        [(t, f"{t:,.0f}") for t in ticks(calls)],
        [(t, readable_bytes(t)) for t in ticks(plan.peak)],
    )
    for r in plan.rectangles:
        axes.parts.append(_rectangle(axes, r))
    axes.line([(0, plan.bound), (calls, plan.bound)], "bound", f"lower bound {plan.bound:,} B")
    return axes.svg("memory plan: lifetimes by offsets")


def memory_bars(plan: MemoryPlan) -> str:
    """The arena's size beside what no reuse would take, and what no plan can beat."""
    sizes = {
        "an address of its own for each": plan.no_reuse,
        "the arena": plan.peak,
        "lower bound": plan.bound,
    }
    scale, rows = 520 / max(plan.no_reuse, 1), []
    for i, (name, size) in enumerate(sizes.items()):
        y, width = 8 + 30 * i, max(size * scale, 1.0)
        rows.append(
            f'<text class="end" x="230" y="{y + 15}">{escape(name)}</text>'
            f'<rect class="amount" x="240" y="{y}" width="{width:.1f}" height="20">'
            f"<title>{size:,} B</title></rect>"
            f'<text class="start" x="{248 + width:.1f}" y="{y + 15}">{size:,} B</text>'
        )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {16 + 30 * len(sizes)}" role="img" '
        f'aria-label="sizes of the arena">{"".join(rows)}</svg>'
    )


def _rectangle(axes: _Axes, r: Rectangle) -> str:
    x, y = axes.x(r.start), axes.y(r.offset + r.size)
    width, height = axes.x(r.end + 1) - x, axes.y(r.offset) - y
    hue = r.group * 47 % 360
    title = (
        f"{r.name}: {r.size:,} B at offset {r.offset:,}, alive from call {r.start} to call {r.end}"
    )
    box = (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{max(height, 0.5):.2f}" '
        f'style="fill:hsl({hue} 55% 65%)"><title>{escape(title)}</title></rect>'
    )
    if height < 14 or width < 7 * len(r.name) + 8:
        return box
    return f'{box}<text class="in" x="{x + 4:.1f}" y="{y + 13:.1f}">{escape(r.name)}</text>'


def roofline(profile: Profile, limits: MachineLimits) -> str:
    """Each kernel's GFLOP/s over its operations per byte, under the machine's roofs.

    Source: Williams, Waterman and Patterson, "Roofline" (2009).
    """
    peak = limits.flops[limits.threads] / 1e9
    axes = _Axes((0.03, 300.0), (0.1, peak * 2), log=True)
    axes.frame(
        "operations per byte",
        "GFLOP/s",
        [(v, f"{v:g}") for v in (0.1, 1, 10, 100)],
        [(10.0**e, f"{10.0**e:g}") for e in range(-1, int(math.log10(peak * 2)) + 1)],
    )
    _draw_roofs(axes, limits, peak)
    for call in profile.calls:
        if call.flops and call.nbytes:
            size = 3 + 9 * math.sqrt(call.seconds / max(profile.seconds, 1e-12))
            rate = min(max(call.flops_per_second / 1e9, 0.1), peak * 2)
            at = min(max(call.flops / call.nbytes, 0.03), 300)
            axes.dot(at, rate, _describe(call), size)
    return axes.svg("roofline: kernels under the machine's limits")


def _draw_roofs(axes: _Axes, limits: MachineLimits, peak: float) -> None:
    """A slope for each level's bandwidth, up to the flat roof of arithmetic."""
    for level, speeds in limits.read.items():
        speed = speeds[limits.threads] / 1e9
        turn = min(peak / speed, 300.0)
        title = f"{level}: {speed:.0f} GB/s, {peak:.0f} GFLOP/s"
        points = [(0.03, 0.03 * speed), (turn, turn * speed), (300.0, peak)]
        axes.line(points, "roof" if level == "DRAM" else "faint", title)
        axes.text(points[0], points[1], f"{level} {speed:.0f} GB/s")
    axes.text((60.0, peak), (300.0, peak), f"arithmetic {peak:.0f} GFLOP/s")


def _describe(call: KernelTime) -> str:
    where = f", from {', '.join(call.sources)}" if call.sources else ""
    return (
        f"{call.kernel}: {call.seconds * 1e6:,.1f} us, {call.flops_per_second / 1e9:.1f} GFLOP/s, "
        f"{call.bytes_per_second / 1e9:.1f} GB/s{where}"
    )
