"""Imported by the fork server, and by it alone: ties its life to the runner's.

A fork server outlives its runner for as long as it has children. With this a runner that is killed takes it along,
and the children, tied to the fork server in the same way, too: no orphan goes on computing.
"""

from fer_bench.execution.lifeline import die_with_parent

die_with_parent()
