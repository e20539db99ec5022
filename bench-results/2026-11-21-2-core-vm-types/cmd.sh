#!/bin/sh
# In the root of the tree, the peers' binaries on PATH.
benches/types --pairs 4 --seconds 0.3 --no-sizes --server valkey=valkey-server --server 'corering=target/release/corering --shards 1' --generator valkey-benchmark
