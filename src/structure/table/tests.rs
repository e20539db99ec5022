//! The table against plain models.

use super::*;
use std::collections::BTreeSet;

fn hash(n: u64) -> u64 {
    let mut state = n;
    next_random(&mut state)
}

#[test]
fn inserts_finds_removes() {
    for n in [0u64, 1, 8, 16, 17, 100, 1000, 10_000, 200_000] {
        let mut table = Table::new();
        for i in 1..=n {
            table.insert(hash(i), i, hash);
        }
        assert_eq!(table.len() as u64, n);
        let mut seen = BTreeSet::new();
        table.for_each(|payload| assert!(seen.insert(payload)));
        assert_eq!(seen.len() as u64, n);
        for i in 1..=n {
            assert_eq!(table.get(hash(i), |payload| payload == i), Some(i));
            assert!(table.get(hash(i + n), |payload| payload == i + n).is_none());
        }
        eprintln!("{n}: {} bytes, {:.2} per entry", table.memory_bytes(), table.memory_bytes() as f64 / n as f64);
        for i in 1..=n {
            let position = table.find(hash(i), |payload| payload == i).unwrap();
            assert_eq!(table.remove(position), i);
            if i % 16384 == 0 {
                eprintln!("  {} left: {:.2}", n - i, table.memory_bytes() as f64 / (n - i) as f64);
            }
        }
        assert_eq!(table.len(), 0);
        assert!(table.memory_bytes() < 1000);
    }
}
