"""Sample tables and random workloads, for the demo, the tests and the chaos runs."""
