"""The 1H feed: hourly bars of the exchange to an append-only table and inference files.

Belongs here: its pure rules, the protocol of a run, its files. Does not belong here: Dagster, SQL, HTTP.
"""
