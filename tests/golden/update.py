"""Writes the golden scripts anew. A person runs it, reads `git diff tests/golden`, and commits.

python tests/golden/update.py
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.golden.cases import CASES, HERE

if __name__ == "__main__":
    for old in (p for p in HERE.iterdir() if p.suffix in (".pbs", ".torque", ".sbatch", ".sh")):
        old.unlink()
    for case in CASES:
        case.path.write_text(case.render())
