#!/bin/sh
# In the root of the tree, the peers' binaries on PATH.
benches/wire-hits --server 'corering=corering --shards 1' --server redis=redis-server --policy allkeys-lru --policy allkeys-lfu --policy allkeys-lhd
