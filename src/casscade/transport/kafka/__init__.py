"""The Kafka transport: mutations on a topic partitioned by the Cassandra partition key."""
