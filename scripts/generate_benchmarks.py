#!/usr/bin/env python
"""Write the benchmark files with the study's defaults: 200 tasks a group, seed 42."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from evaluation.benchmarks import report
from evaluation.config import guarded
from evaluation.groups import GROUPS

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output-dir", type=Path, default=Path("data/benchmarks"))
    parser.add_argument("--groups", nargs="+", choices=list(GROUPS), default=list(GROUPS))
    parser.add_argument("--tasks", type=int, default=200, help="items a group and mode")
    parser.add_argument("--seed", type=int, default=42)
    args = parser.parse_args()
    sys.exit(guarded(lambda: report(args.output_dir, args.groups, args.tasks, args.seed)))
