"""What people start from a terminal."""
