//! `DUMP` and `RESTORE`. Both servers write without compression, since each compressor has its own way.

use super::Family;

/// The family.
pub const FAMILY: Family = Family {
    name: "dump",
    rows: &[
        "14 payload: DUMP $key",
        "10 RESTORE $key 0 $payload [REPLACE]",
        "6 RESTORE $key $ms $payload REPLACE",
        "4 RESTORE $key $at_ms $payload REPLACE ABSTTL",
        "4 RESTORE $key 0 $payload REPLACE [IDLETIME $int] [FREQ $int] [ABSTTL]",
        "2 RESTORE $key $ms $payload $word",
    ],
    things: &[(
        "payload",
        &[
            b"\0\x05hello\x0a\0cr\xdfve4 \x0a",
            b"\0\xc190\x0a\0\x9d\x94\xea'\x93\xfc\x08\xb9",
            b"\x01\x03\x01a\xc0\x05\0\x0a\0'w;\xf6\xb5\x94b\xc1",
            b"\x0a\x1e\x1e\0\0\0\x13\0\0\0\x04\0\0\x01a\x03\xf1\x02\xc0\x7f\xff\x04\xe0\0\xf2\x05*\x01\0\0\0\xff\x0a\0\x9f\xc7r\xea!\xf9\x09|",
            b"\x12\x01\x02\x0c\x0c\0\0\0\x02\0\x81a\x02\x01\x01\xff\x0a\0\x94\x96+#\xac\x17\xaa\x85",
            b"\x02\x03\x011\xc0\x02\x01a\x0a\0\xd2\xd3w\xeb'\xe7\xd1\x0b",
            b"\x0b\x0e\x02\0\0\0\x03\0\0\0\xfd\xff\0\0\x07\0\x0a\0M\xed&F~\x91\x89u",
            b"\x03\x02\x01a\x031.5\x01b\xff\x0a\0\xbb\xd5G\xa1\xcd\x84\x1a\x1e",
            // A long member, and one with the score -0, which no listpack keeps.
            b"\x05\x02\x01a\0\0\0\0\0\0\0\x80@Bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\0\0\0\0\0\0\xf0?\x0a\0T\x5c\xbf\xf0\x05\xb6\x84\xbd",
            b"\x05\x02\x01a\0\0\0\0\0\0\x04@\x01b\0\0\0\0\0\0\xf0\xbf\x0a\0\xb8d\xab\xd7\x14\xf2\xc3X",
            b"\x11\x1c\x1c\0\0\0\x06\0\x81a\x02\x01\x01\x81b\x02\x832.5\x04\x81c\x02\x83inf\x04\xff\x0a\0k\x1d\xde\xdc\xe8\xe2\xc3\x99",
            b"\x04\x01\x01f@Avvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv\x0a\0\xc4\xdc\x9er\x8c\xbb\x80b",
            b"\x0d\x15\x15\0\0\0\x12\0\0\0\x04\0\0\x01f\x03\x01v\x03\xf2\x02\xf3\xff\x0a\0\xd2a\x88\xf0\xa1k\xe3\xf9",
            b"\x10\x11\x11\0\0\0\x04\0\x81f\x02\x81v\x02\x01\x01\x02\x01\xff\x0a\0\x1aM\xf2\x17^\x0b\xff\x9b",
            // Redis lets a string run on into the checksum behind it, as long as it ends in there: not this one.
            b"\0%abc\x0a\0\x8e\xde\x17C\xf7\x82(\xb1",
            b"\x11\x0f\x0f\0\0\0\x03\0\x81a\x02\x01\x01\x81c\x02\xff\x0a\0\xc8\x95\xfa\x9by\xe3;\x03",
            b"ca\x0a\0\x8f\x8f\xbc\xeb\xc9\xc4\x1az",
            b"\0\x05hello\xe7\x03\x02\xf7\x1c\0\x99\xf2\xdb\x03",
            b"\0\x05hello\x0a\0cr\xdfve4 \0",
            b"",
        ],
    )],
    values: &[],
    givens: &[],
};
