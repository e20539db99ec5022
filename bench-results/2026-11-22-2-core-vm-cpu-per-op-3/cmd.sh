#!/bin/sh
# In the root of the tree, the peers' binaries on PATH.
benches/compare --topic cpu-per-op-3 --server valkey=valkey-server --server 'corering=target/release/corering --shards 1' --pairs 4 --scale 0.4 --syscalls --locality 2
