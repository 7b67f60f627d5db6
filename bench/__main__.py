"""`python -m bench [steps|gemm|startup|techniques|all]`: the figures of docs/performance.md."""

from __future__ import annotations

from pathlib import Path

import click

from bench import gemm, startup, steps, techniques

RESULTS = Path(__file__).resolve().parent / "results"


@click.command()
@click.argument(
    "what", type=click.Choice(["steps", "gemm", "startup", "techniques", "all"]), default="all"
)
@click.option("--threads", default=2, show_default=True, help="Threads for every candidate.")
@click.option("--compile/--no-compile", "compiled", default=True, help="Include torch.compile.")
def main(what: str, threads: int, compiled: bool) -> None:
    """Measure and compare; tables on screen, rows as JSON in bench/results."""
    if what in ("gemm", "all"):
        gemm.main(threads, RESULTS / f"gemm_{threads}.json")
    if what in ("startup", "all"):
        startup.main(RESULTS / "startup.json")
    if what in ("techniques", "all"):
        techniques.main(threads, RESULTS / f"techniques_{threads}.json")
    if what in ("steps", "all"):
        steps.main(threads, compiled, RESULTS / f"steps_{threads}.json")


if __name__ == "__main__":
    main()
