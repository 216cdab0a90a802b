"""The copy of the rows that existed before capture began: token ranges, scans, tasks and their progress."""
