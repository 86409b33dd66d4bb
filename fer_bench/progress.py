"""How something that takes its time says how far it is."""

from collections.abc import Callable

Progress = Callable[[float, str], None]
"""Called with the share done, 0..1, and a short text."""


def silent(done: float, text: str) -> None:
    """Progress that nobody asked to see."""
