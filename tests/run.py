"""Run the whole suite and close with one line that any reader understands: `N passed, N failed`."""

from __future__ import annotations

import sys

import pytest


class _Tally:
    """Counts outcomes as pytest reports them (errors count as failures)."""

    def __init__(self) -> None:
        self.passed = self.failed = self.skipped = 0
        self.reasons: dict[str, int] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed += 1
        elif report.skipped:
            self.skipped += 1
            reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else "skipped"
            self.reasons[reason] = self.reasons.get(reason, 0) + 1
        elif report.when == "call":
            self.passed += 1


def main() -> int:
    tally = _Tally()
    code = pytest.main(["-n", "2", "--durations=10", *sys.argv[1:]], plugins=[tally])
    for reason, count in sorted(tally.reasons.items()):
        print(f"skipped {count}: {reason}")
    failed = tally.failed + (1 if code and not tally.failed else 0)
    print(f"{tally.passed} passed, {failed} failed")
    return 1 if failed or not tally.passed else 0


if __name__ == "__main__":
    raise SystemExit(main())
