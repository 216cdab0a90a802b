"""From folded rows to PostgreSQL: COPY encoding, staging, merging, positions, fencing, tombstones and expiry."""
