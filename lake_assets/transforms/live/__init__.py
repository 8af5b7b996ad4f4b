"""The fold of live records to minutes: one code online and offline."""
