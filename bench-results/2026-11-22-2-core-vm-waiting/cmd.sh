#!/bin/sh
# In the root of the tree, the peers' binaries on PATH. none.sh and half.sh start target/release/corering with PATIENCE of
# src/runtime/pace.rs (commit 3c5a50f) set to 0 and 0.5; one has 1, as it stood there.
benches/latency --topic waiting-open --server 'one=target/release/corering --shards 1' --server 'none=./none.sh --shards 1' --server 'half=./half.sh --shards 1' --server redis=redis-server --bench target/release/corering-bench --constant --poisson 40000 60000 90000 --rounds 3 --duration 3 --sweep ''
benches/compare --topic waiting-closed --server 'one=target/release/corering --shards 1' --server 'none=./none.sh --shards 1' --server 'half=./half.sh --shards 1' --scenario p1-c50 --scenario p1-c200 --pairs 8 --scale 0.4 --syscalls
