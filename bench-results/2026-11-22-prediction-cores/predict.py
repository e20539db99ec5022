#!/usr/bin/env python3
"""What more cores should give, by c(f) = c0 + f*h: figures of a measured run in, a table out. Nothing here is measured."""

# bench-results/2026-11-21-2-core-vm-cpu-per-op-2, CPU microseconds per operation; the peer is Valkey 8.0.1 on one core.
RUNS = [
    ("P=1, 50 connections", 4.405, 0.369, 5.569),
    ("P=16, 50 connections", 0.440, 0.148, 1.046),
]
CORES = [1, 2, 4, 8, 16, 32, 64]

for name, c0, h, peer in RUNS:
    print(f"### {name}: c0 = {c0} µs, h = {h} µs\n")
    titles = ("cores", "keys elsewhere", "CPU µs/op", "million op/s", "times one core", "times the peer")
    titles += ("steered: million op/s",)
    print("| " + " | ".join(titles) + " |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for cores in CORES:
        share = (cores - 1) / cores
        cost = c0 + share * h
        rate, steered = cores / cost, cores / c0
        row = (f"{cores}", f"{share:.0%}", f"{cost:.3f}", f"{rate:.2f}", f"{rate * c0:.2f}", f"{rate * peer:.1f}")
        row += (f"{steered:.2f}",)
        print("| " + " | ".join(row) + " |")
    print()
