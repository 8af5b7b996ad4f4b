"""One file per data product."""
