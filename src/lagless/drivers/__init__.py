"""Probes over drivers: how the monitor talks to a server. A driver is imported only in the module of its name."""
