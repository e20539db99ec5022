//! One reply from the replies of several shards. Works on finished RESP, so that a command's code never knows that it
//! ran in parts.

use crate::command::Gather;
use crate::resp::decode::{Head, element_len, head};
use crate::resp::{Output, Reply};

/// Merges `replies` (by shard; `None` where a shard was not asked) into `reply`. `key_shards` tells, for
/// [`Gather::ByKey`], the shard of each key in the order of the call.
///
/// # Panics
/// Long strings stand elsewhere than as elements of [`Gather::ByKey`].
pub fn merge(how: Gather, mut replies: Vec<Option<Output>>, key_shards: &[u16], reply: &mut Reply<'_>) {
    let mut long: Vec<_> = replies
        .iter_mut()
        .map(|output| {
            output.as_mut().map_or(Vec::new(), |output| output.take_long(0, output.len())).into_iter().peekable()
        })
        .collect();
    assert!(matches!(how, Gather::ByKey) || long.iter().all(|long| long.len() == 0));
    let replies: Vec<Option<Vec<u8>>> = replies.into_iter().map(|output| output.map(Output::into_bytes)).collect();
    // The first error is the answer, whatever the others did.
    if let Some(error) = replies.iter().flatten().find(|bytes| bytes.first() == Some(&b'-')) {
        reply.raw(error);
        return;
    }
    match how {
        Gather::Sum => {
            let total = replies.iter().flatten().map(|bytes| integer(bytes)).sum();
            reply.integer(total);
        }
        Gather::Ok => reply.ok(),
        Gather::Concat => {
            let elements: usize = replies.iter().flatten().map(|bytes| elements(bytes).1).sum();
            reply.array(elements);
            for bytes in replies.iter().flatten() {
                reply.raw(&bytes[elements_start(bytes)..]);
            }
        }
        Gather::ByKey => {
            let mut at: Vec<usize> =
                replies.iter().map(|bytes| bytes.as_ref().map_or(0, |bytes| elements_start(bytes))).collect();
            reply.array(key_shards.len());
            for &shard in key_shards {
                let shard = shard as usize;
                let bytes = replies[shard].as_ref().expect("every key's shard was asked");
                let rest = &bytes[at[shard]..];
                if let Some((place, string)) =
                    long[shard].next_if(|(place, _)| is_header_until(rest, place - at[shard]))
                {
                    let header_len = place - at[shard];
                    let len = header_len + b"\r\n".len();
                    reply.raw_long(&rest[..header_len], string, &rest[header_len..len]);
                    at[shard] += len;
                    continue;
                }
                let len = element_len(rest).expect("a shard answers with an element per key");
                reply.raw(&rest[..len]);
                at[shard] += len;
            }
        }
        Gather::First => match replies.iter().flatten().find(|bytes| !is_null(bytes)) {
            Some(bytes) => reply.raw(bytes),
            None => reply.null(),
        },
    }
}

/// Whether an element's header ends at this offset, where its string, which is long, is to be put.
fn is_header_until(element: &[u8], end: usize) -> bool {
    memchr::memchr(b'\n', element).is_some_and(|at| at + 1 == end)
}

fn integer(bytes: &[u8]) -> i64 {
    match head(bytes) {
        Ok(Some((Head::Integer(value), _))) => value,
        other => panic!("a shard answers with an integer, not {other:?}"),
    }
}

/// Header length and element count of an array.
fn elements(bytes: &[u8]) -> (usize, usize) {
    match head(bytes) {
        Ok(Some((Head::Array(count), len))) => (len, count),
        other => panic!("a shard answers with an array, not {other:?}"),
    }
}

fn elements_start(bytes: &[u8]) -> usize {
    elements(bytes).0
}

fn is_null(bytes: &[u8]) -> bool {
    bytes.starts_with(b"_") || bytes.starts_with(b"$-1") || bytes.starts_with(b"*-1")
}
