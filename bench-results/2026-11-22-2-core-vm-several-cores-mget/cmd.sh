#!/bin/sh
# In the root of the tree, the other binaries on PATH.
benches/cores --server corering-rel10 --line mget --line mset --pairs 4 --scale 0.15 --topic several-cores-mget
