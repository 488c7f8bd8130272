"""Cut a JSONL corpus into chunks; the same as `python -m corpus.split`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from corpus.split import main

if __name__ == "__main__":
    sys.exit(main())
