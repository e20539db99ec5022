#!/bin/sh
# In the root of the tree, the peers' binaries on PATH.
benches/limit --server 'corering=corering --shards 1' --server valkey=valkey-server --server redis=redis-server --policy allkeys-lru --pairs 5 --pipeline 16 --out bench-results/2026-11-22-2-core-vm-limit-p16-3
