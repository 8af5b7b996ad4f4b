"""How bytes come and go; knows no column of the lake."""
