"""The research layer: one DuckDB file with views over the whole lake, for people who think in SQL.

Belongs here: the views' SQL, what they read, writing the file. Does not belong here: judging or changing any row.
"""
