#!/bin/sh
# In the root of the tree, the peers' binaries on PATH.
benches/limit --server 'before=corering-base --shards 1' --server 'after=corering-new --shards 1' --policy allkeys-lru --pairs 4 --requests 1000000 --pipeline 16 --out bench-results/2026-11-22-2-core-vm-limit-p16-2
