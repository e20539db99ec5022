//! Requests: whatever bytes arrive and however they are cut, they mean the same, and nothing panics.
//!
//! The input's first byte says how the stream is cut and whether the client has authenticated; the rest is the stream.

use corering::resp::parser::{Limits, Parser, Span};

/// What a stream means: its requests, and the error that ends it.
#[derive(Debug, PartialEq, Eq)]
struct Heard {
    requests: Vec<Vec<Vec<u8>>>,
    error: Option<Vec<u8>>,
}

/// Panics when the input shows a mistake.
pub fn check(input: &[u8]) {
    let Some((&how, stream)) = input.split_first() else { return };
    let limits = Limits { bulk_bytes_max: 1 << 20, authenticated: how & 1 == 0 };
    let whole = hear(stream, stream.len().max(1), 0, &limits);
    assert_eq!(hear(stream, 1 + (how >> 1 & 15) as usize, 0, &limits), whole);
    assert_eq!(hear(stream, 1, how as u32 | 1, &limits), whole);
}

/// Hears `stream` in pieces of `piece_bytes`, or, if `seed` is not 0, of lengths drawn from it.
fn hear(stream: &[u8], piece_bytes: usize, seed: u32, limits: &Limits) -> Heard {
    let mut parser = Parser::new();
    let mut args: Vec<Span> = Vec::new();
    let mut heard = Heard { requests: Vec::new(), error: None };
    let mut buf: Vec<u8> = Vec::new();
    let mut rest = stream;
    let mut random = seed;
    while !rest.is_empty() {
        let mut len = piece_bytes;
        if seed != 0 {
            // xorshift
            random ^= random << 13;
            random ^= random >> 17;
            random ^= random << 5;
            len = 1 + (random % 97) as usize;
        }
        let (piece, behind) = rest.split_at(len.min(rest.len()));
        rest = behind;
        buf.extend_from_slice(piece);
        let mut from = 0;
        loop {
            args.clear(); // Another connection used it.
            match parser.parse(&mut buf[from..], limits, &mut args) {
                Ok(Some(consumed)) => {
                    assert!(0 < consumed && consumed <= buf.len() - from);
                    for span in &args {
                        assert!(span.start as usize + span.len as usize <= consumed);
                    }
                    heard.requests.push(args.iter().map(|span| span.of(&buf[from..]).to_vec()).collect());
                    from += consumed;
                }
                Ok(None) => {
                    assert!(parser.wanted_bytes() == 0 || buf.len() - from < parser.wanted_bytes());
                    break;
                }
                Err(error) => {
                    heard.error = Some(error.as_bytes().to_vec());
                    return heard;
                }
            }
        }
        buf.drain(..from);
    }
    heard
}
