"""Topics written by Debezium's Cassandra connector as an input: its JSON becomes updates, and rows to be read again."""
