#!/bin/sh
# In the root of the tree, the peers' binaries on PATH.
benches/limit --server 'corering=target/release/corering --shards 1' --server valkey=valkey-server --server redis=redis-server --pairs 6 --policy allkeys-lru
