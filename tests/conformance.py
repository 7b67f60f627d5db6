"""Run the array API's public test suite, where it is present, on `pellucid.array_api`.

The suite is data-apis/array-api-tests; it is not on PyPI, and is not kept here. It is looked for
where the environment variable ARRAY_API_TESTS points, then beside this repository. Arguments are
passed on to pytest; without `--max-examples` the suite's own number of examples is run.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
XFAILS = ROOT / "tests" / "array_api" / "xfails.txt"
HOW = """the array API test suite is not here. To obtain it:
  git clone --recurse-submodules https://github.com/data-apis/array-api-tests ../array-api-tests
  {python} -m pip install -r ../array-api-tests/requirements.txt
(or let ARRAY_API_TESTS name the folder it is in), then run this again."""


def suite() -> Path | None:
    """The folder of the suite, with its specification and what it needs installed, if present."""
    named = os.environ.get("ARRAY_API_TESTS")
    beside = ROOT.parent / "array-api-tests"
    for folder in [Path(named).resolve(), beside] if named else [beside]:
        stubs = folder / "array-api" / "src" / "array_api_stubs"  # the submodule
        if stubs.is_dir() and importlib.util.find_spec("pytest_jsonreport"):
            return folder
    return None


def main() -> int:
    folder = suite()
    if folder is None:
        print(HOW.format(python=sys.executable))
        return 1
    command = [
        sys.executable, "-m", "pytest", "array_api_tests", "-q", "-n", "2", "-p", "no:randomly",
        "-p", "no:cacheprovider", "--disable-deadline", f"--xfails-file={XFAILS}", *sys.argv[1:],
    ]  # fmt: skip
    paths = [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    with tempfile.TemporaryDirectory() as scratch:
        env = {
            **os.environ,
            "ARRAY_API_TESTS_MODULE": "pellucid.array_api",
            "ARRAY_API_TESTS_VERSION": "2024.12",
            "HYPOTHESIS_STORAGE_DIRECTORY": scratch,
            "PYTHONPATH": os.pathsep.join(paths),
        }
        done = subprocess.run(
            command, cwd=folder, env=env, stdout=subprocess.PIPE, text=True, check=False
        )
    print(done.stdout)
    last = done.stdout.strip().rsplit("\n", 1)[-1]
    passed, failed, errors, xfailed = (
        int(found.group(1)) if (found := re.search(rf"(\d+) {word}\b", last)) else 0
        for word in ("passed", "failed", "errors?", "xfailed")
    )
    failed += errors or (1 if done.returncode and not failed else 0)
    print(f"{passed} passed, {failed} failed, {xfailed} xfailed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    raise SystemExit(main())
