"""Imported by the fork server, before all else and by it alone: ties its life to the runner's, and leaves Ctrl-C to it.

A fork server outlives its runner for as long as it has children. With this a runner that is killed takes it along,
and the children, tied to the fork server in the same way, too: no orphan goes on computing. Ctrl-C is ignored by Python
itself, but not before the libraries are imported.
"""

import signal

from fer_bench.execution.lifeline import die_with_parent

signal.signal(signal.SIGINT, signal.SIG_IGN)
die_with_parent()
