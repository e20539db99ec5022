//! Intsets from outside: bytes are whole or refused, and what is taken is a set in rising order.

use corering::structure::intset::Intset;

/// Panics when the input shows a mistake.
pub fn check(input: &[u8]) {
    let Ok(mut intset) = Intset::from_bytes(input.to_vec()) else { return };
    assert_eq!(intset.as_bytes(), input);
    let integers: Vec<i64> = intset.iter().collect();
    assert_eq!(intset.len(), integers.len());
    assert!(integers.windows(2).all(|pair| pair[0] < pair[1]));
    let mut other = Intset::new();
    assert!(integers.iter().rev().all(|&integer| intset.contains(integer) && other.insert(integer)));
    assert!(other.iter().eq(integers.iter().copied()));
    for integer in [i64::MIN, 0, i64::MAX] {
        let was_there = integers.contains(&integer);
        assert_eq!(intset.insert(integer), !was_there);
        assert!(intset.contains(integer) && intset.remove(integer) && !intset.contains(integer));
        if was_there {
            intset.insert(integer);
        }
    }
    assert!(intset.iter().eq(integers.iter().copied()));
    assert_eq!(intset.remove_range(0, usize::MAX), integers.len());
    assert!(intset.is_empty());
}
