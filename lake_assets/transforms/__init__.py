"""From wire frames to the minute table: pure polars functions.

Belongs here: features per minute, as-of joins, the assembly of the 66 columns.
Does not belong here: I/O, Dagster, clocks, verdicts about quality (`validation`).
"""
