"""The `pellucid` command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import pellucid as pl
from pellucid.bench.timing import Pace
from pellucid.command.bench import Bench, list_rows, run_bench
from pellucid.command.options import (
    Progress,
    check_folder,
    parse_counts,
    parse_extents,
    parse_names,
)
from pellucid.command.staircase import climb
from pellucid.command.staircase_show import check_ending, staircase_text, write_staircase
from pellucid.command.staircase_work import WORKS
from pellucid.command.tour import Tour, take_tour
from pellucid.command.tune import Tune
from pellucid.command.tune import tune as tune_script
from pellucid.core.config import current_config, usable_cores
from pellucid.core.errors import ArgumentError, PellucidError
from pellucid.runtime.cache import CacheInfo, DiskStore, open_cache
from pellucid.runtime.machine import known_limits, machine_limits


class _Commands(click.Group):
    """Commands whose expected errors are one message, not a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; exit status 1 for an error, 130 for Ctrl-C."""
        try:
            return super().invoke(ctx)
        except (PellucidError, OSError) as error:
            raise click.ClickException(str(error)) from error
        except (KeyboardInterrupt, click.Abort):
            click.echo("\nstopped; files are whole or were not written", err=True)
            ctx.exit(130)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(pl.__version__, prog_name="pellucid")
def main() -> None:
    """Pellucid: a complete machine-learning system in Python, clear all the way down."""
    current_config()  # settings that do not fit are said first


@main.command(short_help="Train a model, see every layer, take it away as C.")
@click.option("--model", type=click.Choice(["mlp", "cnn", "gpt"]), default="cnn", show_default=True)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("pellucid-tour"),
    show_default=True,
    help="Folder for the report, the C files and the weights.",
)
@click.option(
    "--steps", type=click.IntRange(1, 10_000_000), help="Training steps [default: enough]."
)
@click.option("--seed", type=click.IntRange(0, (1 << 64) - 1), default=0, show_default=True)
@click.option(
    "--mnist",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder with MNIST's four files, to train the mlp on them.",
)
def tour(model: str, output: Path, steps: int | None, seed: int, mnist: Path | None) -> None:
    """Train a model on real data, look at every layer it went through, and take it away as C.

    Takes under two minutes. Prints what happens, and writes report.html with all of it.
    """
    if mnist is not None and model != "mlp":
        raise click.UsageError("--mnist goes with --model mlp: the other models have other data")
    take_tour(Tour(model=model, folder=output, steps=steps, seed=seed, mnist=mnist))


@main.command(short_help="Measure what this machine can do at best.")
@click.option("--again", is_flag=True, help="Measure anew, even if the limits are known.")
def machine(again: bool) -> None:
    """Measure what this machine can do at best: arithmetic, memory at each level, threads.

    Takes under a minute the first time; the figures are kept beside the compile cache.
    """
    if again or known_limits() is None:
        click.echo("measuring; other work on the machine makes the figures smaller ...", err=True)
    click.echo(machine_limits(again=again).table())


@main.command(short_help="A kernel after each schedule step, measured.")
@click.argument("work", type=click.Choice(list(WORKS)))
@click.option(
    "--size", callback=parse_extents, help="Its extents, such as 2048x2048x1024, or one number."
)
@click.option("--threads", type=click.IntRange(1), help="Threads [default: all].")
@click.option("--loops", is_flag=True, help="Print the loop nest after each step.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    help="A file for the picture (.svg), a page with all loops (.html) or the figures (.json); "
    "may be given several times.  [default: staircase-WORK.svg]",
)
def staircase(
    work: str,
    size: tuple[int, ...] | None,
    threads: int | None,
    loops: bool,
    out: tuple[Path, ...],
) -> None:
    """Show how a kernel gets fast: its speed after each schedule step, from the definition on.

    Every step is compiled as it stands, checked against NumPy in float64, and held against what
    this machine can do. Slow steps are run in part. Takes under a minute.
    """
    paths = out or (Path(f"staircase-{work}.svg"),)
    for path in paths:
        check_ending(path)
        check_folder(path)
    with Progress() as progress:
        stairs = climb(work, size, threads or pl.get_num_threads(), progress)
    click.echo(staircase_text(stairs, loops=loops))
    for path in paths:
        write_staircase(stairs, path)
        click.echo(f"written: {path}")


@main.command(short_help="Compare with other frameworks and the machine's limits.")
@click.argument("rows", nargs=-1)
@click.option(
    "--threads",
    default=f"1,{usable_cores()}",
    callback=parse_counts,
    show_default=True,
    help="Thread counts, one after the other; every candidate has the same.",
)
@click.option(
    "--peers", callback=parse_names, help="Peers that take part, by comma [default: all]."
)
@click.option("--rounds", type=click.IntRange(1, 1000), default=15, show_default=True)
@click.option("--quick", is_flag=True, help="Few short rounds: to see that it works.")
@click.option("--all", "every", is_flag=True, help="Show every candidate, not the best peer only.")
@click.option(
    "--json", "path", type=click.Path(path_type=Path, dir_okay=False), help="Write all figures."
)
@click.option("--list", "listed", is_flag=True, help="Names and goals of the rows.")
def bench(  # noqa: PLR0913  # one for each option
    *,
    rows: tuple[str, ...],
    threads: tuple[int, ...],
    peers: tuple[str, ...],
    rounds: int,
    quick: bool,
    every: bool,
    path: Path | None,
    listed: bool,
) -> None:
    """Measure ROWS (names or groups; * stands for anything) beside the peers that are installed.

    Results are compared first. Then candidates take turns, so that all meet the same noise; shown
    are medians, and how near they come to what the machine can do.
    """
    if listed:
        click.echo(list_rows(rows))
        return
    if path is not None:
        check_folder(path)
    wanted = Bench(
        rows=rows, threads=threads, peers=peers, pace=Pace(rounds=rounds), quick=quick,
        every=every, json=path,
    )  # fmt: skip
    with Progress() as progress:
        run_bench(wanted, progress)


@main.command(short_help="Search faster schedules for a script's kernels.")
@click.argument("script")
@click.argument("args", nargs=-1)
@click.option(
    "--budget",
    type=click.FloatRange(0, min_open=True),
    default=60.0,
    show_default=True,
    help="Seconds to search for, about.",
)
@click.option(
    "--run",
    type=click.FloatRange(0, min_open=True),
    default=30.0,
    show_default=True,
    help="Seconds after which the script is stopped.",
)
@click.option("--threads", type=click.IntRange(1), help="Threads [default: all].")
def tune(
    script: str, args: tuple[str, ...], budget: float, run: float, threads: int | None
) -> None:  # fmt: skip
    """Run a script (or module), find the kernels that take its time, and search them.

    Candidates are compiled, checked and measured, guided by a model that learns from all that was
    measured before. What is faster is kept, and used by every program compiled from then on. Ctrl-C
    ends the search and keeps what was found. Arguments for the script go after --.
    """
    tune_script(Tune(script=script, args=args, budget_s=budget, run_s=run, threads=threads))


@main.group()
def cache() -> None:
    """Look at the compile cache on disk, or empty it."""


@cache.command("info")
def cache_info() -> None:
    """Where the cache is, and how full."""
    store = open_cache().disk
    if store is None:
        click.echo("the cache on disk is switched off (PELLUCID_CACHE=0)")
        return
    info = _info(store)
    click.echo(f"{info.folder}: {info.entries} entries, {info.nbytes / 1e6:,.1f} MB")


@cache.command("clear")
def cache_clear() -> None:
    """Remove everything in the cache; programs compile again when next used."""
    store = open_cache().disk
    if store is not None:
        _info(store)
    count = 0 if store is None else store.clear()
    click.echo(f"removed {count} entries")


def _info(store: DiskStore) -> CacheInfo:
    """What is in the store, unless it cannot be used."""
    info = store.info()
    if not info.usable:
        fix = "set PELLUCID_CACHE_DIR to a folder that you can write"
        raise ArgumentError("cache", f"{info.folder} cannot be used: nothing is kept", fix=fix)
    return info


if __name__ == "__main__":
    main()
