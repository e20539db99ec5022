//! Listpacks and intsets from outside: bytes are whole or refused, and what is taken can be walked and changed.
#![no_main]

use corering::structure::intset::Intset;
use corering::structure::listpack::{Element, Listpack};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(intset) = Intset::from_bytes(input.to_vec()) {
        assert_eq!(intset.as_bytes(), input);
        let integers: Vec<i64> = intset.iter().collect();
        assert!(integers.is_sorted());
        let mut other = Intset::new();
        assert!(integers.iter().all(|&integer| intset.contains(integer) && other.insert(integer)));
        assert!(other.iter().eq(integers));
    }
    let Ok(mut listpack) = Listpack::from_bytes(input.to_vec()) else { return };
    assert_eq!(listpack.as_bytes(), input);
    let texts: Vec<Vec<u8>> = listpack.iter().map(Element::to_vec).collect();
    assert_eq!(listpack.len(), texts.len());
    let backwards: Vec<Vec<u8>> = listpack.iter().rev().map(Element::to_vec).collect();
    assert!(backwards.iter().eq(texts.iter().rev()));
    for (index, text) in texts.iter().enumerate() {
        let found = listpack.find(listpack.first(), text, 0).expect("it is there");
        assert!(Some(found) <= listpack.position(index as i64));
    }
    if let Some(position) = listpack.position((texts.len() / 2) as i64) {
        listpack.replace(position, &b"something else"[..]);
        listpack.insert_before(position, 1);
        let tail = listpack.split_off(position);
        listpack.append(&tail);
        assert_eq!(listpack.iter().count(), texts.len() + 1);
        assert_eq!(listpack.remove_range(0, usize::MAX), texts.len() + 1);
    }
    assert!(listpack.is_empty());
});
