//! Whole snapshots: whatever the bytes, they are read to their end or refused, and nothing is held that the bytes do
//! not explain. A key's value is decoded or refused, as a payload is.
//!
//! The checksum is not looked at, so that changes reach what it covers.

use corering::rdb::load::{Item, Reader};
use corering::rdb::{Limits, decode_as};
use corering::value::list::Fill;
use corering::value::stream::IdempotencyLimits;
use corering::value::{hash, set, sorted_set};

/// Values are copied as they stand; names and texts of other things are expanded (LZF makes 88 bytes of one).
const BYTES_PER_BYTE_MAX: usize = 100;

static LIMITS: std::sync::LazyLock<Limits> = std::sync::LazyLock::new(|| Limits {
    hash: hash::Limits { listpack_len_max: 8, listpack_bytes_max: 20, seed: 1 },
    set: set::Limits { integers_max: 8, listpack_len_max: 4, listpack_member_bytes_max: 20, seed: 1 },
    sorted_set: sorted_set::Limits { members_max: 8, member_bytes_max: 20 },
    list: Fill::of_directive(-2),
    idempotency: IdempotencyLimits::STOCK,
});

/// Panics when the input shows a mistake.
pub fn check(input: &[u8]) {
    let Ok(mut reader) = Reader::open(input, false) else { return };
    let (mut key, mut value, mut text) = (Vec::new(), Vec::new(), Vec::new());
    let mut before = reader.offset();
    loop {
        match reader.next(&mut key, &mut value) {
            Ok(Item::End) => break,
            Ok(Item::Key(head)) => {
                assert!(value.len() <= input.len(), "{} bytes of {}", value.len(), input.len());
                assert!(key.len() <= BYTES_PER_BYTE_MAX * input.len());
                // What is decoded is what was there: not more than was copied is looked at.
                let mut bytes = &value[..];
                if decode_as(head.kind, &mut bytes, reader.version(), &LIMITS, &mut text).is_ok() {
                    assert!(bytes.is_empty(), "{} bytes of a value are left", bytes.len());
                }
            }
            Ok(Item::Aux(name, text)) => assert!(name.len() + text.len() <= BYTES_PER_BYTE_MAX * input.len()),
            Ok(Item::Library(text)) => assert!(text.len() <= BYTES_PER_BYTE_MAX * input.len()),
            Ok(Item::Database(_) | Item::Sizes(..) | Item::ModuleAux(_)) => {}
            Err(fault) => {
                assert!(!fault.to_string().is_empty());
                break;
            }
        }
        let offset = reader.offset();
        assert!(before < offset && offset <= input.len() as u64, "each step takes bytes that are there");
        before = offset;
    }
}
