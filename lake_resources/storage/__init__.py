"""How bytes of the lake come to rest: paths, Parquet files, the ledger, commits and reads.

Belongs here: everything that writes or reads below the lake's root. Does not belong here: where the bytes come from,
what the columns mean, Dagster.
"""
