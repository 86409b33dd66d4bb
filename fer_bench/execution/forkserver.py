"""Imported by the fork server, by it alone: ties its life to the runner's, leaves Ctrl-C to it, imports libraries.

A fork server outlives its runner for as long as it has children. With this a runner that is killed takes it along,
and the children, tied to the fork server in the same way, too: no orphan goes on computing. Ctrl-C is ignored by Python
itself, but not before the libraries are imported.
"""

import os
import signal

signal.signal(signal.SIGINT, signal.SIG_IGN)

from fer_bench.execution.environment import die_with_parent, import_quietly  # noqa: E402  takes its time

die_with_parent()
import_quietly(os.environ.get("FER_BENCH_PRELOAD", "").split())
