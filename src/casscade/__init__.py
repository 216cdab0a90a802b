"""Casscade: change data capture from Apache Cassandra to PostgreSQL, merged by Cassandra's own rules."""

__version__ = "0.1.0"
