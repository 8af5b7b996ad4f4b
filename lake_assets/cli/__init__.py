"""What people start from a terminal: the command `lake` and what it prints."""
