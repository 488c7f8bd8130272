#!/usr/bin/env python
"""Report on all <results-dir>/*/metrics.json: report.html, comparison.md, tables.tex, figures.

With --config the arms, the baseline and the expectations come from a study's job instead.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from evaluation.analyze import run_folder, run_job
from evaluation.config import guarded

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--results-dir", type=Path, default=Path("results"))
    source.add_argument("--config", type=Path, help="the analyze job's configuration")
    parser.add_argument("--baseline", help="the arm to compare with; vanilla or baseline if there")
    args = parser.parse_args()
    if args.config:
        sys.exit(guarded(lambda: run_job(args.config)))
    sys.exit(guarded(lambda: run_folder(args.results_dir, args.baseline)))
