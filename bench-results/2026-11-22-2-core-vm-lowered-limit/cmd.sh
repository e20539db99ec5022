#!/bin/sh
# In the root of the tree, the peers' binaries on PATH.
benches/lowered-limit --server 'corering=target/release/corering --shards 1' --server valkey=valkey-server --server redis=redis-server --rounds 2 --keys 1000000 --out bench-results/2026-11-22-2-core-vm-lowered-limit
benches/lowered-limit --server 'corering=target/release/corering --shards 1' --server valkey=valkey-server --server redis=redis-server --rounds 2 --keys 1000000 --writers 20 --out bench-results/DIR-WITH-writers.csv
