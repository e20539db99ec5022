#!/bin/sh
# In the root of the tree, the peers' binaries on PATH.
benches/tools --server 'corering=corering-new --shards 1' --server redis=redis-server --cluster 'corering=corering-new --shards 2' --requests 60000 --report target/release/corering-bench --out bench-results/2026-11-22-2-core-vm-tools
