"""What data/sample/README.md promises of the sample corpus."""

from __future__ import annotations

import json
import re
from pathlib import Path


def test_sample_is_large_enough_and_does_not_repeat_itself(root: Path) -> None:
    path = root / "data" / "sample" / "filipino.jsonl"
    texts = [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(texts) >= 200
    assert 140_000 <= path.stat().st_size <= 260_000
    assert all(isinstance(text, str) and text.strip() for text in texts)
    seen: dict[tuple[str, ...], int] = {}
    for number, text in enumerate(texts, 1):
        words = re.findall(r"\w+", text.lower())
        for start in range(len(words) - 7):
            run = tuple(words[start : start + 8])
            first = seen.setdefault(run, number)
            assert first == number, f"lines {first} and {number} share {' '.join(run)!r}"
