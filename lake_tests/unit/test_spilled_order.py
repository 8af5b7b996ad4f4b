"""Rows of an archive out of order: over the disk they are the same as in memory."""

from __future__ import annotations

import random
import zipfile
from pathlib import Path

import polars as pl
import pytest

from lake_assets.inputs.archives import type_archive
from lake_assets.inputs.spilled_order import frames_in_order
from lake_resources.binance.um_streams import AGG_TRADES, BOOK_DEPTH
from lake_resources.errors import ArchiveCorrupt
from lake_resources.input_limits import InputLimits

FEW, MANY = InputLimits(), InputLimits(unordered_rows=1000)


def zip_of(path: Path, lines: list[str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.csv", "\n".join(lines) + "\n")
    return path


def shuffled(lines: list[str]) -> list[str]:
    return random.Random(7).sample(lines + lines[:300], len(lines) + 300)


def trades(count: int = 250_000) -> list[str]:
    return [f"{n},{100 + n % 7}.5,0.00{n % 9 + 1},{n},{n},{1_696_204_800_000 + n},true" for n in range(count)]


def depths(count: int = 2_000) -> list[str]:
    times = [f"2023-10-16 00:{n // 60:02}:{n % 60:02}" for n in range(count)]
    return [f"{time},{band},{n}.5,{n}.25" for n, time in enumerate(times) for band in (-1, 1)]


@pytest.mark.parametrize(("stream", "lines"), [(AGG_TRADES, trades()), (BOOK_DEPTH, depths())], ids=["trades", "depth"])
def test_rows_sorted_over_the_disk_are_those_sorted_in_memory(tmp_path: Path, stream: object, lines: list[str]) -> None:
    path = zip_of(tmp_path / "x.zip", shuffled(lines))
    in_memory, over_disk = (
        pl.concat(frames_in_order(path, stream, tmp_path / "sort", limits))  # type: ignore[arg-type]
        for limits in (FEW, MANY)
    )
    assert over_disk.schema == in_memory.schema
    assert over_disk.equals(in_memory)
    assert in_memory.height == len(set(lines))
    assert list((tmp_path / "sort").iterdir()) == []


def test_rows_that_share_a_key_and_differ_are_refused_over_the_disk_too(tmp_path: Path) -> None:
    lines = trades(200_000)
    path = zip_of(tmp_path / "x.zip", shuffled([*lines, lines[4321].replace(".5,", ".6,")]))
    for limits in (FEW, MANY):
        with pytest.raises(ArchiveCorrupt, match="different rows share a key"):
            type_archive(path, AGG_TRADES, tmp_path / "typed", {}, limits)
