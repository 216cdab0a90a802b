"""Secrets: how they are named in the configuration, and how they are held so that they never show."""
