"""What follows from the frames of a leaderboard: codes with values. The sentences are in report/sentences.j2."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Finding:
    """code: UPPER_CASE, a macro of report/sentences.j2. values: by name, plain numbers, texts and lists of them."""

    code: str
    values: dict[str, Any] = field(default_factory=dict)
