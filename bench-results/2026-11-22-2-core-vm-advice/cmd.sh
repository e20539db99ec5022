#!/bin/sh
# In the root of the tree, the peers' binaries on PATH.
benches/advice --server target/debug/corering --requests 160000 --policy allkeys-lru --policy allkeys-lhd --server-cpus 0,1 --out DIR
