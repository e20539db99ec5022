#!/bin/sh
# In the root of the tree, the peers' binaries on PATH.
benches/expiry --server 'corering=target/release/corering --shards 1' --server valkey=valkey-server --server redis=redis-server --out bench-results/2026-11-22-2-core-vm-expiry
