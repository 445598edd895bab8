"""opt-partition from Python."""
