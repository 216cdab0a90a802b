"""The native local stack: real Cassandra and PostgreSQL without containers, as root or not.

Everything that is downloaded is pinned by SHA-256 and cached outside the checkout; nothing is left running that was
started for a process which has ended.
"""
