"""The log on Apache Kafka, with either client library."""
