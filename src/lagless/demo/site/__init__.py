"""The demo's Django site: a message board, the same for every routing policy."""
