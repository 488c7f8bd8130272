"""Check that everything the study needs is here; the same as `pipeline doctor`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.cli import cli

if __name__ == "__main__":
    # Exits 0 only if every check passed; names each that did not, with its remedy.
    cli(["doctor", *sys.argv[1:]], prog_name="pipeline")
