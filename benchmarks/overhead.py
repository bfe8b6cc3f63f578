"""How much of a warm cell's time is the subject serving requests?

Runs single cells, each as a process of its own, and prints for each the wall time from start to
exit, the time in which requests were in flight, and their ratio. The rest is overhead: starting
mongod and Apache, samples, stopping, and our own start.

    python benchmarks/overhead.py [--cells 3] [-- options of wsgiproof run]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CELL = ["--mode", "daemon", "--topology", "standalone"]


def main() -> None:
    """Print one line for each cell, and the median ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=3)
    parser.add_argument("options", nargs="*", default=CELL)
    arguments = parser.parse_args()
    one_cell([*arguments.options, "-n", "60"])  # fills the cache
    print(f"{'wall s':>8} {'serving s':>10} {'ratio':>6}  requests/s")
    ratios = []
    for _ in range(arguments.cells):
        wall, cell = one_cell(arguments.options)
        serving = cell["timings"]["serving"]
        ratios.append(serving / wall)
        rate = cell["observed"]["requests_per_second"]
        print(f"{wall:8.1f} {serving:10.1f} {ratios[-1]:6.2f}  {rate:,.0f}")
    print(f"median ratio {statistics.median(ratios):.2f}")


def one_cell(options: list[str]) -> tuple[float, dict[str, dict[str, float]]]:
    """Run one cell; return the whole command's wall seconds and the cell's record."""
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory) / "out"
        command = [sys.executable, "-m", "wsgiproof", "run", *options, "--output", str(output)]
        started = time.monotonic()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
        wall = time.monotonic() - started
        (record,) = output.glob("cells/*/cell.json")
        return wall, json.loads(record.read_text())


if __name__ == "__main__":
    main()
