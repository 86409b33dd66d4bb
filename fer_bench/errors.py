"""The one exception a person is meant to read, and what makes any text fit to be read."""

import errno
import os
import re

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that control a terminal or the direction of writing, and bytes of file names that are no text."""


class FerBenchError(Exception):
    """Bad input, said for people: what is wrong, where, and what to do.

    The command line prints the message without a traceback and exits with code 2.
    """


def is_no_room(error: BaseException) -> bool:
    """Whether a disk is full or read-only; some libraries have the system's words only, not its number."""
    return isinstance(error, OSError) and (error.errno in _NO_ROOM or os.strerror(errno.ENOSPC) in str(error))


def readable(text: str, limit: int | None = None) -> str:
    """`text` as a terminal and a file in UTF-8 take it: what controls or is no text is spelled out, escaped.

    limit: characters; of a longer text the beginning and the end are kept.
    """
    if limit and len(text) > limit:
        text = f"{text[: limit // 2]}\n... {len(text) - limit:,} characters left out ...\n{text[-limit // 2 :]}"
    return _UNFIT.sub(lambda found: ascii(found[0])[1:-1].replace(r"\udc", r"\x"), text)


def no_formula(text: str) -> str:
    """`text` as a cell of a table that a spreadsheet shows, and never runs as a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def listing(problems: list[str], limit: int = 20) -> str:
    """Join `problems` one per line, at most `limit` of them, with a count of the rest."""
    shown = "\n".join(f"  - {problem}" for problem in problems[:limit])
    rest = len(problems) - limit
    return shown + (f"\n  ... and {rest:,} more" if rest > 0 else "")
