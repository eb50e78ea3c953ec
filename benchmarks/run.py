"""Measure, and write RESULTS.md and training.svg: `python benchmarks/run.py [PART]...`.

Each part (training, eager, products, layers) is a script of its own that keeps its figures in
results/; the page is made from what lies there, so that a part can be measured alone: without a
name, all are; `page` measures nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pages

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"{', '.join(pages.PARTS)}, page; all if left out")
    parser.add_argument("--quick", action="store_true", help="a short try: no figures to rely on")
    parser.add_argument("--out", type=Path, default=HERE, help="where to write; here if left out")
    given = parser.parse_args()
    for part in given.parts or pages.PARTS:
        if part not in (*pages.PARTS, "page"):
            parser.error(f"no part {part}; there are {', '.join(pages.PARTS)}, page")
        if part != "page":
            quick = ["--quick"] * given.quick
            command = [sys.executable, HERE / f"{part}.py", *quick, "--out", given.out]
            subprocess.run(command, check=True)
    kept = {part: given.out / "results" / f"{part}.json" for part in pages.PARTS}
    found = {p: json.loads(path.read_text()) for p, path in kept.items() if path.exists()}
    (given.out / "RESULTS.md").write_text("\n".join(pages.results(found)) + "\n")
    if "training" in found:
        pages.plot(found["training"]).save(given.out / "training.svg")


if __name__ == "__main__":
    main()
