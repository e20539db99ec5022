#!/bin/sh
# In the root of the tree, the peers' binaries on PATH.
benches/compare --topic stages-cost --server 'before=corering-rel5 --shards 1' --server 'after=corering-rel6 --shards 1' --scenario p16-c50 --pairs 6 --scale 0.6
