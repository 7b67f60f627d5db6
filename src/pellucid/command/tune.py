"""`pellucid tune`: run a user's script, see which kernels take its time, make those faster.

Enters: a script or module and its arguments. Leaves: text, and choices in the tuning records, which
every later compilation finds.
"""

from __future__ import annotations

import runpy
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

import pellucid as pl
from pellucid.command.options import Progress
from pellucid.compile import this_machine
from pellucid.core.config import current_config
from pellucid.core.errors import ArgumentError
from pellucid.runtime.tuning import (
    LEAST_SHARE,
    Comparison,
    Job,
    Result,
    compare_programs,
    find_jobs,
    tune_kernels,
)
from pellucid.runtime.watch import Watched, watch_programs
from pellucid.schedule.choice import RULES
from pellucid.schedule.search.records import open_records
from pellucid.schedule.search.space import Space, size_of_space

_LISTED = 20  # kernels


@dataclass(frozen=True, kw_only=True, slots=True)
class Tune:
    """What to tune: a script's path or a module's name, its arguments, and limits in seconds."""

    script: str
    args: tuple[str, ...] = ()
    budget_s: float
    run_s: float
    threads: int | None = None


class _Enough(BaseException):
    """The script has run for long enough; a `BaseException`, so that it is not taken for its own
    failure.
    """


def tune(options: Tune) -> list[Result]:
    """Run, search, compare, keep; prints what happens.

    Raises:
        ArgumentError: there is no such script, it failed, or it ran no compiled program; the cache
            is switched off.
        OSError: the records cannot be written.
    """
    config = current_config()
    if not config.cache:
        raise ArgumentError("tune", "the cache is switched off, so nothing could be kept")
    if options.threads is not None:
        pl.set_num_threads(options.threads)
    programs = watch_script(options)
    threads = options.threads or pl.get_num_threads()
    pl.set_num_threads(threads)
    jobs = find_jobs(programs)
    _show_jobs(options, programs, jobs)
    records = open_records(config, this_machine(), threads)
    results = []
    with Progress() as progress:
        for result in tune_kernels(jobs, records, this_machine(), options.budget_s, progress):
            progress("", 1, 1)
            _show_result(result)
            results.append(result)
    _show_comparisons(compare_programs(programs, results, records))
    click.echo(f"kept in {records.folder}; what is compiled from now on uses it")
    if threads != config.threads:
        click.echo(f"for {threads} thread(s): set PELLUCID_THREADS={threads} when you run it")
    return results


def watch_script(options: Tune) -> list[Watched]:
    """The programs that a script runs, until it ends or its time is over.

    Raises:
        ArgumentError: see `tune`.
    """
    click.echo(f"running {options.script}, at most {options.run_s:g} s ...", err=True)
    with watch_programs() as seen:
        try:
            with _limited(options.run_s), _arguments(options):
                _run(options.script)
        except (_Enough, SystemExit):
            pass
        except Exception as error:
            rule = f"{options.script} failed: {type(error).__name__}: {error}"
            raise ArgumentError("tune", rule) from error
    ran = [w for w in seen if w.runs and w.compiled.lowered.calls]
    if not ran:
        raise ArgumentError(
            "tune",
            f"{options.script} ran no compiled program",
            fix="decorate what is called often with @pl.jit",
        )
    return ran


def _run(script: str) -> None:
    if Path(script).exists():
        runpy.run_path(script, run_name="__main__")
        return
    if not all(part.isidentifier() for part in script.split(".")):
        raise ArgumentError("tune", f"there is no file {script}")
    runpy.run_module(script, run_name="__main__", alter_sys=True)


@contextmanager
def _arguments(options: Tune) -> Iterator[None]:
    """`sys.argv` and `sys.path` as the script would find them by itself."""
    argv, path = sys.argv, list(sys.path)
    sys.argv = [options.script, *options.args]
    sys.path.insert(0, str(Path(options.script).resolve().parent))
    try:
        yield
    finally:
        sys.argv, sys.path[:] = argv, path


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Stop what runs in the block after some time, where the system can."""
    if (
        not hasattr(signal, "setitimer")
        or threading.current_thread() is not threading.main_thread()
    ):
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise _Enough

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _show_jobs(options: Tune, programs: Sequence[Watched], jobs: Sequence[Job]) -> None:
    runs = sum(w.runs for w in programs)
    click.echo(
        f"{options.script}: {len(programs)} compiled programs, {runs:,} runs, {len(jobs)} distinct "
        f"kernels"
    )
    click.echo(f"{'share':>7} {'calls':>9} {'schedules':>10}  kernel")
    for job in jobs[:_LISTED]:
        if job.share < LEAST_SHARE:
            break
        click.echo(f"{job.share:>7.1%} {job.calls:>9,} {_size(job):>10}  {_described(job)}")
    click.echo()


def _size(job: Job) -> str:
    """About how many schedules there are to choose from."""
    found = Space(job.kernel, this_machine(), job.constants).candidate()
    return f"{size_of_space({d.name: d for d in found.decisions}):,}"


def _described(job: Job) -> str:
    shapes = ", ".join("x".join(map(str, b.shape)) or "scalar" for b in job.kernel.params)
    text = f"{job.kernel.name} ({shapes})"
    return text if len(text) <= 68 else f"{text[:67]}…"


def _show_result(result: Result) -> None:
    found, job = result.found, result.job
    said = "the rules' schedule stays"
    if found.choice != RULES:
        values = ", ".join(f"{name} {value}" for name, value in found.choice.values)
        said = f"{found.rule_seconds / found.seconds:.2f}x with {values}"
    rule, best = found.rule_seconds * 1e6, found.seconds * 1e6
    stopped = "; interrupted" if result.interrupted else ""
    click.echo(
        f"{job.share:>7.1%} {job.kernel.name}: {rule:,.1f} -> {best:,.1f} us, {said} "
        f"({result.trials} tried{stopped})"
    )


def _show_comparisons(comparisons: Sequence[Comparison]) -> None:
    click.echo("\nwhole programs, by the rules and with what was found, in turns:")
    for c in sorted(comparisons, key=lambda c: -c.before * c.runs)[:_LISTED]:
        click.echo(
            f"{c.name:>24} {c.before * 1e3:>9.3f} -> {c.after * 1e3:>9.3f} ms  "
            f"{c.before / max(c.after, 1e-12):.2f}x, {c.runs:,} runs"
        )
