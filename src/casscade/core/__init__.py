"""The model and the rules, pure: mutations, positions, reconciliation, errors and limits.

Imports nothing but the standard library, so that every rule can be tested without a server.
"""
