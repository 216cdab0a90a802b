"""Row-level comparison of a Cassandra table with its copy in PostgreSQL."""
