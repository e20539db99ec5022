//! Commands on HyperLogLogs. That the strings are the same, byte for byte, the values and `GET` tell.

use super::Family;

/// The family.
pub const FAMILY: Family = Family {
    name: "hyperloglog",
    rows: &[
        "10 PFADD $hll {$value}",
        "10 PFADD $hll $value $value $value $value $value $value $value $value $value $value $value $value",
        "2 PFADD $hll",
        "2 PFADD $key {$value}",
        "8 PFCOUNT $hll",
        "4 PFCOUNT {$hll}",
        "1 PFCOUNT $key {$hll}",
        "5 PFMERGE $hll {$hll}",
        "1 PFMERGE $key {$key}",
        "6 GET $hll",
        // Not DECODE: what it says of a string that SETRANGE broke is an accident of Redis' memory.
        "2 PFDEBUG ENCODING $hll",
        "1 PFDEBUG (TODENSE|GETREG) $hll",
        // Registers that SETRANGE or APPEND broke are another accident: Redis reads past the end of the string, says
        // what lay there, and what PFADD then writes ends it some thousand commands later. The fuzz targets break them.
        "1 SETRANGE $hll (0|4|5|8|14|15) x",
        "2 DEL $hll",
    ],
    things: &[("hll", &[b"hll:a", b"hll:b", b"hll:c", b"{t}hll"])],
    values: &[],
    givens: &["PFADD KEY", "PFADD KEY a b c d e f g h i j k l m n o p"],
};
