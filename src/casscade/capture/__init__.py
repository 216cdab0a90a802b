"""The agent beside a Cassandra node: follows `cdc_raw` and hands raw mutations to the transport."""
