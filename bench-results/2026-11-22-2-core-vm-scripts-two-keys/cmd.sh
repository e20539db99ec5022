#!/bin/sh
# In the root of the tree, the peers' binaries on PATH.
benches/types --scripts --operation EVALSHA_2_KEYS --server 'one=target/release/corering --shards 1 --save '"'"''"'"'' --server 'two=target/release/corering --shards 2 --save '"'"''"'"'' --server-cpus 0,1 --topic scripts-two-keys
