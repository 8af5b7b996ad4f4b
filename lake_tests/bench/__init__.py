"""The benchmark: `make bench`. Not collected by pytest; its figures are in docs/benchmarks.md."""
