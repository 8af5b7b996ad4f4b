"""Files for others: rows of a table with their certificate."""
