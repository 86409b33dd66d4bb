"""The one exception a person is meant to read."""

import errno
import os

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class FerBenchError(Exception):
    """Bad input, said for people: what is wrong, where, and what to do.

    The command line prints the message without a traceback and exits with code 2.
    """


def is_no_room(error: BaseException) -> bool:
    """Whether a disk is full or read-only; some libraries have the system's words only, not its number."""
    return isinstance(error, OSError) and (error.errno in _NO_ROOM or os.strerror(errno.ENOSPC) in str(error))


def listing(problems: list[str], limit: int = 20) -> str:
    """Join `problems` one per line, at most `limit` of them, with a count of the rest."""
    shown = "\n".join(f"  - {problem}" for problem in problems[:limit])
    rest = len(problems) - limit
    return shown + (f"\n  ... and {rest:,} more" if rest > 0 else "")
