#!/bin/sh
# In the root of the tree.
CORERING_STALL_ELEMENTS=10000000 cargo bench --bench stalls > bench-results/2026-11-22-2-core-vm-stalls/stalls.txt
