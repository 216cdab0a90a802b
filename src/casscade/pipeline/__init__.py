"""Wiring and supervision: the only place that builds the graph of parts from a configuration."""
