#!/bin/sh
# In the root of the tree, the peers' binaries on PATH.
benches/latency --topic latency-2 --server redis=redis-server --server 'corering=target/release/corering --shards 1' --wide 'corering-2=target/release/corering --shards 2' --bench corering-bench
