//! Listpacks from outside: bytes are whole or refused, and what is taken can be walked, found, changed and split.

use corering::structure::listpack::{Element, Listpack};

/// Panics when the input shows a mistake.
pub fn check(input: &[u8]) {
    let Ok(mut listpack) = Listpack::from_bytes(input.to_vec()) else { return };
    assert_eq!(listpack.as_bytes(), input);
    let texts: Vec<Vec<u8>> = listpack.iter().map(Element::to_vec).collect();
    assert_eq!(listpack.len(), texts.len());
    let backwards: Vec<Vec<u8>> = listpack.iter().rev().map(Element::to_vec).collect();
    assert!(backwards.iter().eq(texts.iter().rev()));
    for (index, text) in texts.iter().enumerate() {
        // A string that is the text of an integer is a string to one who looks for the integer.
        if let Some(found) = listpack.find(listpack.first(), text, 0) {
            assert!(Some(found) <= listpack.position(index as i64));
        } else {
            assert!(matches!(listpack.get(index as i64), Some(Element::Bytes(_))));
        }
    }
    let mut sorted = texts.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(listpack.is_distinct(1), sorted.len() == texts.len());
    if let Some(position) = listpack.position((texts.len() / 2) as i64) {
        listpack.replace(position, &b"something else"[..]);
        listpack.insert_before(position, 1);
        let tail = listpack.split_off(position);
        listpack.append(&tail);
        assert_eq!(listpack.iter().count(), texts.len() + 1);
        assert_eq!(listpack.remove_range(0, usize::MAX), texts.len() + 1);
    }
    assert!(listpack.is_empty());
}
