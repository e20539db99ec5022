//! Places on the globe.

use super::Family;
use crate::compare::Mode;

/// The family.
pub const FAMILY: Family = Family {
    name: "geo",
    rows: &[
        "30 GEOADD $geokey {$longitude $latitude $place}",
        "6 GEOADD $geokey [NX|XX] [CH] {$longitude $latitude $place}",
        "1 GEOADD $geokey (NX|XX|CH|$word) (NX|XX|CH|$word) $longitude $latitude [$place]",
        "10 GEODIST $geokey $place $place [$unit]",
        "6 GEOHASH $geokey {$place}",
        "8 GEOPOS $geokey {$place}",
        "10 GEORADIUS $geokey $longitude $latitude $radius $unit [WITHDIST] [WITHCOORD] [WITHHASH] [COUNT $int ANY|COUNT $all] \
         [ASC|DESC]",
        "4 GEORADIUS_RO $geokey $longitude $latitude $radius $unit [WITHDIST] [COUNT $all] [ASC|DESC|STORE $geokey]",
        "3 GEORADIUS $geokey $longitude $latitude $radius $unit [COUNT $all] [ASC] (STORE|STOREDIST) $geokey [WITHDIST]",
        "10 GEORADIUSBYMEMBER $geokey $place $radius $unit [WITHDIST] [WITHCOORD] [WITHHASH] [COUNT $int ANY|COUNT $all] [ASC|DESC]",
        "4 GEORADIUSBYMEMBER_RO $geokey $place $radius $unit [WITHCOORD] [COUNT $all] [ASC|DESC]",
        "3 GEORADIUSBYMEMBER $geokey $place $radius $unit [COUNT $all] [DESC] (STORE|STOREDIST) $geokey",
        "12 GEOSEARCH $geokey FROMMEMBER $place BYRADIUS $radius $unit [WITHDIST] [WITHCOORD] [WITHHASH] [COUNT $int ANY|COUNT $all] \
         [ASC|DESC]",
        "12 GEOSEARCH $geokey FROMLONLAT $longitude $latitude BYBOX $radius $radius $unit [WITHDIST] [WITHCOORD] \
         [WITHHASH] [COUNT $int ANY|COUNT $all] [ASC|DESC]",
        "8 GEOSEARCH $geokey (FROMMEMBER $place|FROMLONLAT $longitude $latitude) \
         (BYBOX $radius $radius $unit|BYRADIUS $radius $unit) [ASC|DESC] [COUNT $all] [WITHDIST]",
        "3 GEOSEARCH $geokey [FROMMEMBER $place] [FROMLONLAT $longitude $latitude] [BYBOX $radius $radius $unit] \
         [BYRADIUS $radius $unit] [ANY] [STOREDIST|$word]",
        "4 GEOSEARCHSTORE $geokey $geokey (FROMMEMBER $place|FROMLONLAT $longitude $latitude) \
         (BYBOX $radius $radius $unit|BYRADIUS $radius $unit) [ASC|DESC] [COUNT $all] [STOREDIST] [WITHDIST]",
        "2 GEOSEARCH $key FROMLONLAT $longitude $latitude BYRADIUS $radius $unit ASC",
        "2 GEOPOS $key {$zmember}",
        "2 GEODIST $key $zmember $zmember",
        "4 ZREM $geokey $place",
    ],
    things: &[
        ("geokey", &[b"geo0", b"{t}geo", b"{t}geo2"]),
        (
            "place",
            &[b"Palermo", b"Catania", b"north", b"south", b"east", b"west", b"zero", b"p1", b"p2", b"p3", b"p4", b"p5"],
        ),
        (
            "longitude",
            &[
                b"13.361389",
                b"15.087269",
                b"0",
                b"-0.00001",
                b"0.1",
                b"12.7584",
                b"180",
                b"-180",
                b"179.9999",
                b"-179.9999",
                b"90",
                b"-122.4",
                b"151.2",
                b"180.0001",
                b"-181",
                b"inf",
                b"nan",
                b"1e300",
                b"abc",
                b"",
                b" 1",
            ],
        ),
        (
            "latitude",
            &[
                b"38.115556",
                b"37.502669",
                b"0",
                b"0.00001",
                b"-0.1",
                b"38.7",
                b"85.05112878",
                b"-85.05112878",
                b"85",
                b"67",
                b"-67",
                b"81",
                b"-33.87",
                b"85.06",
                b"-90",
                b"-inf",
                b"nan",
                b"abc",
                b"",
            ],
        ),
        (
            "radius",
            &[
                b"0",
                b"1",
                b"10",
                b"100",
                b"200",
                b"500",
                b"1000",
                b"5000",
                b"166274.1516",
                b"200000",
                b"20000000",
                b"50000000",
                b"0.5",
                b"1e10",
                b"1e300",
                b"inf",
                b"-1",
                b"nan",
                b"abc",
                b"",
            ],
        ),
        // Where several are equally far, which of them are among the first is chance in Redis.
        ("all", &[b"1000", b"2147483648", b"9223372036854775807", b"0", b"-1", b"9223372036854775808", b"abc", b""]),
        ("unit", &[b"m", b"km", b"ft", b"mi", b"KM", b"km ", b"", b"cm"]),
    ],
    values: &[("zset", "ZRANGE KEY 0 -1 WITHSCORES", Mode::Exact)],
    givens: &[
        "GEOADD KEY 13.361389 38.115556 Palermo 15.087269 37.502669 Catania 12.7584 38.1 p1 -122.4 37.7 west 179.9999 1 east",
    ],
};
