#!/bin/sh
# In the root of the tree, the peers' binaries on PATH.
benches/limit --server 'corering=corering --shards 1' --server redis=redis-server --policy allkeys-lru --pairs 3 --requests 500000 --pipeline 1 --out bench-results/2026-11-22-2-core-vm-limit-p1-2
