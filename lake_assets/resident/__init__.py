"""The resident builder: the hot band kept seconds behind the exchange by one process that stays."""
