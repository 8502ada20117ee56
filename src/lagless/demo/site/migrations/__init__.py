"""The board's tables."""
