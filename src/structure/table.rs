//! The hash table of the keyspace (interface first; the layout page follows with the code).
