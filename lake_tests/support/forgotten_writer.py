"""A collector's writer that is gone as after a kill: what it had written is there, its files were never closed.

Belongs here: letting go of them. Does not belong here: writing records, reading them, processes that are killed.
"""

from __future__ import annotations

from lake_resources.collector.segments import SegmentWriter


def forget(writer: SegmentWriter) -> None:
    """Give the open files back to the system without their last name; a writer that starts recovers them."""
    for segment in writer._open.values():
        segment.file.close()
    writer._open.clear()
