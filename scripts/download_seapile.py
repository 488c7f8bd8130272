"""Fetch SEA-PILE v2 as JSON Lines; the same as `python -m corpus.download`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from corpus.download import main

if __name__ == "__main__":
    sys.exit(main())
