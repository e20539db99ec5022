#!/bin/sh
# In the root of the tree, the other binaries on PATH.
benches/cores --server target/release/corering --peer valkey=valkey-server --pairs 2 --scale 0.2 --topic several-cores
