"""The one exception a person is meant to read."""


class FerBenchError(Exception):
    """Bad input, said for people: what is wrong, where, and what to do.

    The command line prints the message without a traceback and exits with code 2.
    """


def listing(problems: list[str], limit: int = 20) -> str:
    """Join `problems` one per line, at most `limit` of them, with a count of the rest."""
    shown = "\n".join(f"  - {problem}" for problem in problems[:limit])
    rest = len(problems) - limit
    return shown + (f"\n  ... and {rest:,} more" if rest > 0 else "")
