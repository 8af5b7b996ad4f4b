"""Raw answers of the exchange in deterministic windows: slices, their statuses and the manifest."""
