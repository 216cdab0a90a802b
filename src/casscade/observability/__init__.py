"""What operators see: metrics, logs, health and the status page; never a key, a value or a credential of the data."""
