"""The 1H feed: from hourly bars of the exchange to an append-only table and inference files, without Dagster."""
