"""The benchmark: the pipeline beside PostgreSQL's own limit, on this machine, with the same rows."""
