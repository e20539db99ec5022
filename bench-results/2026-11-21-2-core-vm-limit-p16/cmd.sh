#!/bin/sh
# In the root of the tree, the peers' binaries on PATH.
benches/limit --server 'corering=target/release/corering --shards 1' --server valkey=valkey-server --server redis=redis-server --pairs 5 --pipeline 16 --policy allkeys-lru --out bench-results/2026-11-21-2-core-vm-limit-p16
