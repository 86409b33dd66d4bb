"""No orphans: a process asks to be killed when the one that started it dies."""

import ctypes
import signal
import sys


def die_with_parent() -> None:
    """Ask Linux to kill this process when the one that started it dies; elsewhere do nothing."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
