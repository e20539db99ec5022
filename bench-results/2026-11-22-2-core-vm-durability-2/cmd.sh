#!/bin/sh
# In the root of the tree, the peers' binaries on PATH.
benches/durability --server 'corering=target/release/corering --shards 1' --server redis=redis-server --pairs 5 --requests 60000 --keys 2000000 --restart-keys 3000000 --out bench-results/2026-11-22-2-core-vm-durability-2
