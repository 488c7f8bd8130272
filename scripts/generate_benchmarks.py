#!/usr/bin/env python
"""Write the benchmark files with the study's defaults; --help lists what can be changed."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from evaluation.benchmarks import main

if __name__ == "__main__":
    sys.exit(main())
