"""`python -m pipeline`."""

import sys

try:
    from pipeline.cli import main
except ModuleNotFoundError as error:
    if error.name != "click":
        raise
    sys.exit(f"error: {sys.executable} has no click. Run: {sys.executable} -m pip install -e .")

main()
