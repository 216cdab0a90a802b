"""Folding a batch and merging it with stored state, by Cassandra's rules. Pure."""
