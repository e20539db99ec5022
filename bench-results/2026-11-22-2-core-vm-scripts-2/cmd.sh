#!/bin/sh
# In the root of the tree, the peers' binaries on PATH.
benches/types --scripts --pairs 5 --seconds 0.6 --topic scripts-2 --server valkey=valkey-server --server 'corering=target/release/corering --shards 1' --server redis=redis-server --generator valkey-benchmark
