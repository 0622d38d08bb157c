"""What several claims read, by name."""
