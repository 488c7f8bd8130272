"""Gemma 3 1B with small widths. The importer fixes 26 layers and 262,144 words, so those stay.

A module of its own: NeMo writes the name of this class beside each checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass

from nemo.collections.llm.gpt.model.gemma3 import Gemma3Config1B


@dataclass
class SmallGemma3(Gemma3Config1B):  # type: ignore[misc]
    """Widths of a model that a CPU trains in seconds."""

    hidden_size: int = 32
    num_attention_heads: int = 2
    num_query_groups: int = 1
    kv_channels: int = 16
    ffn_hidden_size: int = 64
