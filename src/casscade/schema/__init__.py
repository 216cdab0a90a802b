"""What is known of Cassandra's tables: reading them, mapping them to PostgreSQL, and the DDL that follows."""
