"""Verdicts about frames: pure functions that return outcomes.

Belongs here: the gate of an hour, parity of two sources, source coverage, the audit of a file's contents.
Does not belong here: I/O, Dagster, what happens after a verdict (quarantine, checks in the UI).
"""
