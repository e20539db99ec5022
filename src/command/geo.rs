//! The commands of places on the globe. They are kept as scores of sorted sets: integers of 52 bits, which
//! [`crate::structure::geohash`] makes of longitude and latitude.
//!
//! What Redis 7.0 has answers as Redis 7.0.15 does. Newer: `BYPOLYGON` of Valkey 9.0.

use super::sorted_set::{Conditions, add_all, limits, store};
use super::{Args, Command, CommandResult, Context, Flags, Group, KeyAccess, KeySpec, Keys, Run};
use crate::keyspace::{Class, Event};
use crate::resp::{Error, Reply};
use crate::structure::geohash::{Place, Shape};
use crate::value::number::{parse_double, parse_integer};
use crate::value::sorted_set::{ScoreRange, SortedSet};

const GROW: Flags = Flags::WRITE.union(Flags::DENYOOM);

/// `GEORADIUS` reads a key and perhaps stores the result under another one.
const fn radius_keys(options_at: i16) -> [KeySpec; 3] {
    [
        KeySpec::at(1, KeyAccess::READ),
        KeySpec::behind("STORE", options_at, KeyAccess::OVERWRITE),
        KeySpec::behind("STOREDIST", options_at, KeyAccess::OVERWRITE),
    ]
}

const GEORADIUS_KEYS: &[KeySpec] = &radius_keys(6);
const GEORADIUSBYMEMBER_KEYS: &[KeySpec] = &radius_keys(5);

const SEARCH_COST: &str =
    "O(N+log(M)) where N is the number of members in the cells around the shape and M that of all";

/// The rows.
pub const COMMANDS: &[Command] = &[
    Command::new("GEOADD", Run::Keyspace(geoadd))
        .arity(-5)
        .key()
        .flags(GROW)
        .access(KeyAccess::RW.union(KeyAccess::UPDATE))
        .docs(Group::Geo, "3.2.0", "Gives members of a sorted set their places on the globe.")
        .complexity("O(log(N)) for each member, where N is the number of members")
        .syntax(
            "key [NX|XX]@6.2.0 [change=CH]@6.2.0 longitude:double latitude:double member \
             [longitude:double latitude:double member ...]",
        ),
    Command::new("GEODIST", Run::Keyspace(geodist))
        .arity(-4)
        .key()
        .flags(Flags::READONLY)
        .docs(Group::Geo, "3.2.0", "Returns the distance between two members.")
        .complexity("O(log(N))")
        .syntax("key member1:string member2:string unit=[M|KM|FT|MI]"),
    Command::new("GEOHASH", Run::Keyspace(geohash))
        .arity(-2)
        .key()
        .flags(Flags::READONLY)
        .docs(Group::Geo, "3.2.0", "Returns the places of members as geohash texts.")
        .complexity("O(log(N)) for each member, where N is the number of members")
        .syntax("key [member [member ...]]"),
    Command::new("GEOPOS", Run::Keyspace(geopos))
        .arity(-2)
        .key()
        .flags(Flags::READONLY)
        .docs(Group::Geo, "3.2.0", "Returns the longitudes and latitudes of members.")
        .complexity("O(log(N)) for each member, where N is the number of members")
        .syntax("key [member [member ...]]"),
    Command::new("GEOSEARCH", Run::Keyspace(geosearch))
        .arity(-7)
        .key()
        .flags(Flags::READONLY)
        .docs(Group::Geo, "6.2.0", "Returns the members in a circle, a box or a polygon.")
        .complexity(SEARCH_COST)
        .syntax(
            "key from=[FROMMEMBER member|FROMLONLAT longitude:double latitude:double] \
             by=<BYRADIUS radius:double unit=<M|KM|FT|MI>|BYBOX width:double height:double unit=<M|KM|FT|MI>\
             |BYPOLYGON num-vertices:integer longitude:double latitude:double [longitude:double latitude:double ...]> \
             [ASC|DESC] count=[(COUNT count) [any=ANY]] [withcoord=WITHCOORD] [withdist=WITHDIST] [withhash=WITHHASH]",
        ),
    Command::new("GEOSEARCHSTORE", Run::Keyspace(geosearchstore))
        .arity(-8)
        .keys(Keys::Range { first: 1, last: 2, step: 1 })
        .key_specs(&[KeySpec::at(1, KeyAccess::OVERWRITE), KeySpec::at(2, KeyAccess::READ)])
        .flags(GROW)
        .docs(Group::Geo, "6.2.0", "Stores the members in a circle, a box or a polygon.")
        .complexity(SEARCH_COST)
        .syntax(
            "destination:key source:key from=[FROMMEMBER member|FROMLONLAT longitude:double latitude:double] \
             by=<BYRADIUS radius:double unit=<M|KM|FT|MI>|BYBOX width:double height:double unit=<M|KM|FT|MI>\
             |BYPOLYGON num-vertices:integer longitude:double latitude:double [longitude:double latitude:double ...]> \
             [ASC|DESC] count=[(COUNT count) [any=ANY]] [storedist=STOREDIST]",
        ),
    Command::new("GEORADIUS", Run::Keyspace(georadius))
        .arity(-6)
        .keys(Keys::Custom(georadius_keys))
        .key_specs(GEORADIUS_KEYS)
        .flags(GROW.union(Flags::MOVABLEKEYS))
        .deprecated("6.2.0", "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` argument")
        .docs(Group::Geo, "3.2.0", "Returns or stores the members in a circle around a place.")
        .complexity(SEARCH_COST)
        .syntax(
            "key longitude:double latitude:double radius:double unit=<M|KM|FT|MI> [withcoord=WITHCOORD] \
             [withdist=WITHDIST] [withhash=WITHHASH] count=[(COUNT count) [any=ANY]@6.2.0] [ASC|DESC] [STORE key] \
             [STOREDIST key]",
        ),
    Command::new("GEORADIUS_RO", Run::Keyspace(georadius_ro))
        .arity(-6)
        .key()
        .flags(Flags::READONLY)
        .deprecated("6.2.0", "`GEOSEARCH` with the `BYRADIUS` argument")
        .docs(Group::Geo, "3.2.10", "Returns the members in a circle around a place.")
        .complexity(SEARCH_COST)
        .syntax(
            "key longitude:double latitude:double radius:double unit=<M|KM|FT|MI> [withcoord=WITHCOORD] \
             [withdist=WITHDIST] [withhash=WITHHASH] count=[(COUNT count) [any=ANY]@6.2.0] [ASC|DESC]",
        ),
    Command::new("GEORADIUSBYMEMBER", Run::Keyspace(georadiusbymember))
        .arity(-5)
        .keys(Keys::Custom(georadiusbymember_keys))
        .key_specs(GEORADIUSBYMEMBER_KEYS)
        .flags(GROW.union(Flags::MOVABLEKEYS))
        .deprecated("6.2.0", "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` and `FROMMEMBER` arguments")
        .docs(Group::Geo, "3.2.0", "Returns or stores the members in a circle around a member.")
        .complexity(SEARCH_COST)
        .syntax(
            "key member radius:double unit=<M|KM|FT|MI> [withcoord=WITHCOORD] [withdist=WITHDIST] \
             [withhash=WITHHASH] count=[(COUNT count) [any=ANY]] [ASC|DESC] [STORE key] [STOREDIST key]",
        ),
    Command::new("GEORADIUSBYMEMBER_RO", Run::Keyspace(georadiusbymember_ro))
        .arity(-5)
        .key()
        .flags(Flags::READONLY)
        .deprecated("6.2.0", "`GEOSEARCH` with the `BYRADIUS` and `FROMMEMBER` arguments")
        .docs(Group::Geo, "3.2.10", "Returns the members in a circle around a member.")
        .complexity(SEARCH_COST)
        .syntax(
            "key member radius:double unit=<M|KM|FT|MI> [withcoord=WITHCOORD] [withdist=WITHDIST] \
             [withhash=WITHHASH] count=[(COUNT count) [any=ANY]] [ASC|DESC]",
        ),
];

fn georadius_keys(args: &Args<'_>, positions: &mut Vec<usize>) {
    keys_behind(args, 6, positions);
}

fn georadiusbymember_keys(args: &Args<'_>, positions: &mut Vec<usize>) {
    keys_behind(args, 5, positions);
}

/// The key that is read, and those behind STORE and STOREDIST from an index on.
fn keys_behind(args: &Args<'_>, options_at: usize, positions: &mut Vec<usize>) {
    positions.push(1);
    for word in [&b"store"[..], b"storedist"] {
        let behind = (options_at..args.len() - 1).filter(|&at| args[at].eq_ignore_ascii_case(word)).map(|at| at + 1);
        positions.extend(behind);
    }
}

// Places

/// The bits of a score, as a C program on x86-64 converts a double.
fn bits_of(score: f64) -> u64 {
    const HALF: f64 = 9_223_372_036_854_775_808.0;
    if score < HALF { truncated(score) as u64 } else { truncated(score - HALF) as u64 ^ 1 << 63 }
}

/// The integer part, or the lowest integer where there is none of 64 bits.
fn truncated(score: f64) -> i64 {
    const HALF: f64 = 9_223_372_036_854_775_808.0;
    if (-HALF..HALF).contains(&score) { score as i64 } else { i64::MIN }
}

fn place_of(set: &SortedSet, member: &[u8]) -> Option<Place> {
    set.score(member).map(|score| Place::decode(bits_of(score)))
}

fn float(arg: &[u8], otherwise: Error) -> Result<f64, Error> {
    parse_double(arg).ok_or(otherwise)
}

fn parse_place(longitude: &[u8], latitude: &[u8]) -> Result<Place, Error> {
    let place = Place { longitude: float(longitude, Error::NOT_FLOAT)?, latitude: float(latitude, Error::NOT_FLOAT)? };
    if place.is_valid() {
        return Ok(place);
    }
    let shown = |value: f64| match value.is_infinite() {
        true => if value < 0.0 { "-inf" } else { "inf" }.to_string(),
        false => format!("{value:.6}"),
    };
    let (longitude, latitude) = (shown(place.longitude), shown(place.latitude));
    Err(Error::new(format!("ERR invalid longitude,latitude pair {longitude},{latitude}")))
}

/// Metres of a unit.
fn parse_unit(word: &[u8]) -> Result<f64, Error> {
    const UNITS: [(&[u8], f64); 4] = [(b"m", 1.0), (b"km", 1000.0), (b"ft", 0.3048), (b"mi", 1609.34)];
    let unit = UNITS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name));
    unit.map(|(_, metres)| *metres).ok_or(Error::fixed("ERR unsupported unit provided. please use M, KM, FT, MI"))
}

/// A radius and its unit: the radius, and metres of the unit.
fn parse_radius(radius: &[u8], unit: &[u8]) -> Result<(f64, f64), Error> {
    let radius = float(radius, Error::fixed("ERR need numeric radius"))?;
    if radius < 0.0 {
        return Err(Error::fixed("ERR radius cannot be negative"));
    }
    Ok((radius, parse_unit(unit)?))
}

/// The number as Redis prints coordinates: seventeen decimals, without zeros at the end.
fn coordinate(value: f64) -> String {
    let mut text = format!("{value:.17}");
    text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    if text == "-0" { "0".to_string() } else { text }
}

/// Four decimals, rounded as Redis does it: after scaling, to even.
fn reply_distance(reply: &mut Reply<'_>, distance: f64) {
    const SCALE: u64 = 10_000;
    let scaled = (distance * SCALE as f64).round_ties_even() as u64;
    reply.bulk_text(format_args!("{}.{:04}", scaled / SCALE, scaled % SCALE));
}

fn reply_place(reply: &mut Reply<'_>, place: Place) {
    reply.array(2);
    reply.double(&coordinate(place.longitude));
    reply.double(&coordinate(place.latitude));
}

fn geoadd(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let mut conditions = Conditions::default();
    let mut rest = &args[2..];
    while let [option, tail @ ..] = rest {
        let flag = match () {
            () if option.eq_ignore_ascii_case(b"nx") => &mut conditions.nx,
            () if option.eq_ignore_ascii_case(b"xx") => &mut conditions.xx,
            () if option.eq_ignore_ascii_case(b"ch") => &mut conditions.ch,
            () => break,
        };
        *flag = true;
        rest = tail;
    }
    if rest.is_empty() || !rest.len().is_multiple_of(3) || conditions.nx && conditions.xx {
        return Err(Error::SYNTAX);
    }
    let mut members = Vec::with_capacity(rest.len() / 3);
    for triple in rest.chunks_exact(3) {
        members.push((parse_place(triple[0], triple[1])?.encode() as f64, triple[2]));
    }
    add_all(cx, args[1], conditions, &members, reply)
}

fn geodist(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let unit_m = match &args[4..] {
        [] => 1.0,
        [unit] => parse_unit(unit)?,
        _ => return Err(Error::SYNTAX),
    };
    let set = cx.keyspace.read_container::<SortedSet>(cx.db, args[1])?;
    match set.and_then(|set| Some((place_of(set, args[2])?, place_of(set, args[3])?))) {
        Some((from, to)) => reply_distance(reply, from.distance_m(to) / unit_m),
        None => reply.null(),
    }
    Ok(())
}

fn geohash(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let set = cx.keyspace.read_container::<SortedSet>(cx.db, args[1])?;
    reply.array(args.len() - 2);
    for member in &args[2..] {
        match set.and_then(|set| place_of(set, member)) {
            Some(place) => reply.bulk(place.text()),
            None => reply.null(),
        }
    }
    Ok(())
}

fn geopos(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let set = cx.keyspace.read_container::<SortedSet>(cx.db, args[1])?;
    reply.array(args.len() - 2);
    for member in &args[2..] {
        match set.and_then(|set| place_of(set, member)) {
            Some(place) => reply_place(reply, place),
            None => reply.null_array(),
        }
    }
    Ok(())
}

// Searches

/// Which of the searches it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Search {
    /// `GEORADIUS`.
    Radius { stores: bool },
    /// `GEORADIUSBYMEMBER`.
    RadiusByMember { stores: bool },
    /// `GEOSEARCH`.
    Shape,
    /// `GEOSEARCHSTORE`.
    ShapeStored,
}

impl Search {
    fn is_radius(self) -> bool {
        matches!(self, Search::Radius { .. } | Search::RadiusByMember { .. })
    }
}

/// What a search is for, as far as it has been read.
#[derive(Debug, Clone, Copy, PartialEq)]
enum By {
    Radius(f64),
    Box { width: f64, height: f64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Nearest,
    Farthest,
}

/// A search as it was asked for.
struct Query<'a> {
    /// Where it is from: `None` if there is nothing to search in, so that it does not matter.
    centre: Option<Place>,
    by: Option<By>,
    polygon: Vec<Place>,
    unit_m: f64,
    with_distance: bool,
    with_hash: bool,
    with_place: bool,
    sort: Option<Sort>,
    /// 0: all.
    count: usize,
    any: bool,
    store: Option<&'a [u8]>,
    stores_distance: bool,
}

const NO_MEMBER: Error = Error::fixed("ERR could not decode requested zset member");

impl<'a> Query<'a> {
    fn parse(args: &Args<'a>, search: Search, set: Option<&SortedSet>) -> Result<Query<'a>, Error> {
        let mut query = Query {
            centre: None,
            by: None,
            polygon: Vec::new(),
            unit_m: 1.0,
            with_distance: false,
            with_hash: false,
            with_place: false,
            sort: None,
            count: 0,
            any: false,
            store: None,
            stores_distance: false,
        };
        let member = |member: &[u8]| set.map(|set| place_of(set, member).ok_or(NO_MEMBER)).transpose();
        let options_at = match search {
            Search::Radius { .. } => {
                query.centre = Some(parse_place(args[2], args[3])?);
                query.radius(args[4], args[5])?;
                6
            }
            Search::RadiusByMember { .. } => {
                // Without a key nothing of this is looked at.
                query.centre = member(args[2])?;
                if set.is_some() {
                    query.radius(args[3], args[4])?;
                }
                5
            }
            Search::Shape => 2,
            Search::ShapeStored => {
                query.store = Some(args[1]);
                3
            }
        };
        let has_centre = query.options(&args[options_at..], search, member)?;
        if query.store.is_some() && (query.with_distance || query.with_hash || query.with_place) {
            let name = if search.is_radius() { "STORE option in GEORADIUS" } else { "GEOSEARCHSTORE" };
            let text = format!("ERR {name} is not compatible with WITHDIST, WITHHASH and WITHCOORD options");
            return Err(Error::new(text));
        }
        if !search.is_radius() && query.polygon.is_empty() {
            let lacks =
                |what: &[u8]| Error::new([b"ERR exactly one of ", what, b" can be specified for ", args[0]].concat());
            if !has_centre {
                return Err(lacks(b"FROMMEMBER or FROMLONLAT"));
            }
            if query.by.is_none() {
                return Err(lacks(b"BYRADIUS and BYBOX"));
            }
        }
        if query.any && query.count == 0 {
            return Err(Error::fixed("ERR the ANY argument requires COUNT argument"));
        }
        Ok(query)
    }

    fn radius(&mut self, radius: &[u8], unit: &[u8]) -> Result<(), Error> {
        let (radius, unit_m) = parse_radius(radius, unit)?;
        (self.by, self.unit_m) = (Some(By::Radius(radius)), unit_m);
        Ok(())
    }

    /// Reads the options; whether they say where the search is from.
    fn options(
        &mut self,
        mut rest: &Args<'a>,
        search: Search,
        member: impl Fn(&[u8]) -> Result<Option<Place>, Error>,
    ) -> Result<bool, Error> {
        let takes_store = matches!(search, Search::Radius { stores: true } | Search::RadiusByMember { stores: true });
        let is_shape = !search.is_radius();
        let (mut from_member, mut from_place) = (false, false);
        while let [option, tail @ ..] = rest {
            let is = |word: &str| option.eq_ignore_ascii_case(word.as_bytes());
            let mut used = 0;
            match tail {
                _ if is("withdist") => self.with_distance = true,
                _ if is("withhash") => self.with_hash = true,
                _ if is("withcoord") => self.with_place = true,
                _ if is("any") => self.any = true,
                _ if is("asc") => self.sort = Some(Sort::Nearest),
                _ if is("desc") => self.sort = Some(Sort::Farthest),
                [count, ..] if is("count") => {
                    let count = parse_integer(count).ok_or(Error::NOT_INTEGER)?;
                    let positive = usize::try_from(count).ok().filter(|&count| 0 < count);
                    self.count = positive.ok_or(Error::fixed("ERR COUNT must be > 0"))?;
                    used = 1;
                }
                [key, ..] if takes_store && (is("store") || is("storedist")) => {
                    (self.store, self.stores_distance) = (Some(*key), is("storedist"));
                    used = 1;
                }
                [of, ..] if is_shape && is("frommember") && !from_place && self.polygon.is_empty() => {
                    self.centre = member(of)?;
                    from_member = true;
                    used = 1;
                }
                [longitude, latitude, ..]
                    if is_shape && is("fromlonlat") && !from_member && self.polygon.is_empty() =>
                {
                    self.centre = Some(parse_place(longitude, latitude)?);
                    from_place = true;
                    used = 2;
                }
                [radius, unit, ..]
                    if is_shape
                        && is("byradius")
                        && !matches!(self.by, Some(By::Box { .. }))
                        && self.polygon.is_empty() =>
                {
                    self.radius(radius, unit)?;
                    used = 2;
                }
                [width, height, unit, ..]
                    if is_shape
                        && is("bybox")
                        && !matches!(self.by, Some(By::Radius(_)))
                        && self.polygon.is_empty() =>
                {
                    let width = float(width, Error::fixed("ERR need numeric width"))?;
                    let height = float(height, Error::fixed("ERR need numeric height"))?;
                    if height < 0.0 || width < 0.0 {
                        return Err(Error::fixed("ERR height or width cannot be negative"));
                    }
                    (self.by, self.unit_m) = (Some(By::Box { width, height }), parse_unit(unit)?);
                    used = 3;
                }
                [vertices, corners @ ..]
                    if is_shape && is("bypolygon") && self.by.is_none() && !from_member && !from_place =>
                {
                    self.polygon = parse_polygon(vertices, corners)?;
                    used = 1 + 2 * self.polygon.len();
                }
                _ if search == Search::ShapeStored && is("storedist") => self.stores_distance = true,
                _ => return Err(Error::SYNTAX),
            }
            rest = &tail[used..];
        }
        Ok(from_member || from_place)
    }

    /// The shape, if there is something to search in.
    fn shape(&self) -> Shape {
        if !self.polygon.is_empty() {
            return Shape::Polygon { corners: self.polygon.clone() };
        }
        let centre = self.centre.expect("read, where there is something to search in");
        match self.by.expect("likewise") {
            By::Radius(radius) => Shape::Circle { centre, radius_m: radius * self.unit_m },
            By::Box { width, height } => {
                Shape::Rectangle { centre, width_m: width * self.unit_m, height_m: height * self.unit_m }
            }
        }
    }

    /// What lies in the shape, in the order asked for, as many as asked for.
    fn find(&self, set: &SortedSet) -> Vec<Point> {
        /// Members that are looked at before it is asked whether they are enough.
        const CHUNK_LEN: usize = 64;
        let shape = self.shape();
        let enough = if self.any { self.count } else { usize::MAX };
        let mut points: Vec<Point> = Vec::new();
        for (from, to) in shape.ranges() {
            let range = ScoreRange { min: from as f64, min_exclusive: false, max: to as f64, max_exclusive: true };
            let (start, len) = set.score_range(&range);
            for at in (start..start + len).step_by(CHUNK_LEN) {
                if enough <= points.len() {
                    break;
                }
                set.visit(at, CHUNK_LEN.min(start + len - at), false, |member, score| {
                    let place = Place::decode(bits_of(score));
                    if let Some(distance_m) = shape.distance_within_m(place)
                        && points.len() < enough
                    {
                        points.push(Point { member: member.into(), place, score, distance: distance_m / self.unit_m });
                    }
                });
            }
        }
        // Some of all make sense only if they are the nearest.
        let sort = self.sort.or((0 < self.count && !self.any).then_some(Sort::Nearest));
        if let Some(sort) = sort {
            points.sort_by(|a, b| {
                let order = a.distance.total_cmp(&b.distance);
                if sort == Sort::Nearest { order } else { order.reverse() }
            });
        }
        if 0 < self.count {
            points.truncate(self.count);
        }
        points
    }
}

/// A polygon: how many corners, then their longitudes and latitudes.
fn parse_polygon(vertices: &[u8], corners: &Args<'_>) -> Result<Vec<Place>, Error> {
    const TOO_FEW: Error = Error::fixed("ERR GEOSEARCH BYPOLYGON must have at least 3 vertices");
    let vertices = parse_integer(vertices).ok_or(Error::NOT_INTEGER)?;
    let vertices = usize::try_from(vertices).ok().filter(|vertices| 3 <= *vertices).ok_or(TOO_FEW)?;
    let words = vertices.checked_mul(2).and_then(|words| corners.get(..words)).ok_or(TOO_FEW)?;
    words.chunks_exact(2).map(|pair| parse_place(pair[0], pair[1])).collect()
}

/// A member that was found.
struct Point {
    member: Box<[u8]>,
    place: Place,
    score: f64,
    /// In the unit of the search.
    distance: f64,
}

fn georadius(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    search(cx, args, reply, Search::Radius { stores: true })
}

fn georadius_ro(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    search(cx, args, reply, Search::Radius { stores: false })
}

fn georadiusbymember(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    search(cx, args, reply, Search::RadiusByMember { stores: true })
}

fn georadiusbymember_ro(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    search(cx, args, reply, Search::RadiusByMember { stores: false })
}

fn geosearch(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    search(cx, args, reply, Search::Shape)
}

fn geosearchstore(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    search(cx, args, reply, Search::ShapeStored)
}

fn search(cx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>, search: Search) -> CommandResult {
    let key = if search == Search::ShapeStored { args[2] } else { args[1] };
    let set = cx.keyspace.read_container::<SortedSet>(cx.db, key)?;
    let query = Query::parse(args, search, set)?;
    let mut points = set.map_or_else(Vec::new, |set| query.find(set));
    if let Some(destination) = query.store {
        for point in &mut points {
            point.score = if query.stores_distance { point.distance } else { point.score };
        }
        points.sort_by(|a, b| a.score.total_cmp(&b.score).then_with(|| a.member.cmp(&b.member)));
        let members = points.iter().map(|point| (&point.member[..], point.score));
        let result = SortedSet::from_sorted(members, limits(cx));
        let name = if search.is_radius() { "georadiusstore" } else { "geosearchstore" };
        store(cx, destination, result, Event::new(name, Class::SORTED_SET), reply);
        return Ok(());
    }
    let options = [query.with_distance, query.with_hash, query.with_place].into_iter().filter(|&option| option).count();
    reply.array(points.len());
    for point in points {
        if 0 < options {
            reply.array(1 + options);
        }
        reply.bulk(&point.member);
        if query.with_distance {
            reply_distance(reply, point.distance);
        }
        if query.with_hash {
            reply.integer(truncated(point.score));
        }
        if query.with_place {
            reply_place(reply, point.place);
        }
    }
    Ok(())
}
