#!/bin/sh
# In the root of the tree, the peers' binaries on PATH.
benches/types --no-speed --topic types-sizes-2 --elements 2000000 --structure hashes --structure stream --server valkey=valkey-server --server 'corering=corering-rel8 --shards 1' --server redis=redis-server --generator valkey-benchmark
