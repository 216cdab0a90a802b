"""The demonstration: real servers, a mixed workload, a kill in the middle, and a proof that both sides are equal."""
