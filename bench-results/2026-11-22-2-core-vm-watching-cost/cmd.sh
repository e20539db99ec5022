#!/bin/sh
# In the root of the tree, the peers' binaries on PATH.
benches/compare --topic watching-cost --switches corering --pairs 20 --scale 0.4 --scenario p1-c50 --instructions
