//! Replies read back: any bytes are a whole element, the beginning of one, or malformed.

use corering::resp::decode::{Elements, head, scan};
use corering::resp::{element_len, header};

/// Panics when the input shows a mistake.
pub fn check(bytes: &[u8]) {
    let _ = header(bytes);
    let len = scan(bytes);
    assert_eq!(element_len(bytes), len.ok().flatten());
    if let Ok(Some(len)) = len {
        // An element's end depends on nothing behind it, and none of its beginnings is an element.
        assert!(0 < len && len <= bytes.len());
        assert_eq!(scan(&bytes[..len]), Ok(Some(len)));
        assert_eq!(scan(&bytes[..len - 1]), Ok(None));
        let (_, head_len) = head(bytes).expect("well-formed").expect("complete");
        assert!(head_len <= len);
        if let Some((_, len, line_len)) = header(bytes) {
            assert!(line_len <= head_len && -1 <= len || bytes[0] == b':');
        }
    }
    let elements = Elements::new(bytes);
    let walked: usize = elements.clone().map(|element| element.len()).sum();
    let mut walk = elements;
    walk.by_ref().for_each(drop);
    assert_eq!(walked + walk.rest().len(), bytes.len());
}
