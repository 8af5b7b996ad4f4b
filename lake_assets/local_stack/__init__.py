"""All processes of the platform on one machine: starting, keeping and ending them; the demo."""
