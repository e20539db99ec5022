//! The keyspace as its users see it.
