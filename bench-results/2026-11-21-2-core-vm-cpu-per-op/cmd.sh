#!/bin/sh
# In the root of the tree, the peers' binaries on PATH.
benches/compare --topic cpu-per-op --server valkey=valkey-server --server redis=redis-server --server 'corering=corering-bench --shards 1' --pairs 4 --scale 0.25 --syscalls
