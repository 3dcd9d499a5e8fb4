"""What the configuration of a transformers model says of its form, where models write it differently."""

from __future__ import annotations

from typing import Any

ROPES = ("default", "linear", "llama3")


def head_width(config: Any) -> int:
    """Numbers in a key of one head."""
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def lasting_angles(config: Any) -> bool:
    """Whether the rotary angle of a position does not depend on the sequence's length."""
    return (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default") in ROPES
