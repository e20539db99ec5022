#!/bin/sh
# In the root of the tree, the peers' binaries on PATH.
benches/types --no-speed --topic types-sizes --elements 10000000 --server valkey=valkey-server --server 'corering=corering-rel5 --shards 1' --server redis=redis-server --generator valkey-benchmark
