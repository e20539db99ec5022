#!/bin/sh
# In the root of the tree, the peers' binaries on PATH.
benches/resident --server 'corering=target/release/corering --shards 2 --maxmemory 1%' --server valkey=valkey-server --server redis=redis-server --out bench-results/2026-11-22-2-core-vm-resident
