//! Places on the globe as integers of 52 bits, so that what is near in order is near on the ground: the interleaved
//! bits of latitude and longitude, as Redis keeps them as scores; which cells of that grid a search has to look at;
//! distances on a sphere.
//!
//! ```text
//! step 1:                    step 2, the cell 10 of step 1:           a cell of a step is the range of all integers
//!  lat                        ┌────┬────┐                             that begin with its bits: the members in it lie
//!   ▲  ┌────┬────┐            │1001│1011│                             in one range of scores. A search looks at the
//!   │  │ 01 │ 11 │            ├────┼────┤    bits: lon lat lon lat    cell of its centre, made large enough, and at
//!   │  ├────┼────┤            │1000│1010│                             those of its eight neighbours that it touches.
//!   │  │ 00 │ 10 │            └────┴────┘
//!   │  └────┴────┘
//!   └──────────────▶ lon      26 steps: cells of 0.6 m at the equator
//! ```
//!
//! All arithmetic is in the order in which Redis does it, for the last bit of a distance is printed or compared.

/// Steps of a full geohash: 52 bits.
pub const STEP_MAX: u8 = 26;
/// Longitudes reach from minus this to this, in degrees.
pub const LONGITUDE_MAX: f64 = 180.0;
/// Latitudes likewise: the poles are left out, as in the Mercator projection.
pub const LATITUDE_MAX: f64 = 85.051_128_78;
/// Latitudes of the geohash that others use, as a text.
const LATITUDE_MAX_OF_TEXT: f64 = 90.0;

/// Radius of the globe in metres.
const EARTH_RADIUS_M: f64 = 6_372_797.560_856;
/// Half of the width of the Mercator projection in metres.
const MERCATOR_MAX_M: f64 = 20_037_726.37;
/// A degree in radians.
const RADIANS: f64 = std::f64::consts::PI / 180.0;

const LATITUDE_BITS: u64 = 0x5555_5555_5555_5555;
const LONGITUDE_BITS: u64 = 0xaaaa_aaaa_aaaa_aaaa;

/// A place, in degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    /// From -180 to 180.
    pub longitude: f64,
    /// From -85 to 85.
    pub latitude: f64,
}

impl Place {
    /// Whether it is within the limits.
    pub fn is_valid(self) -> bool {
        let is_within = |value: f64, max: f64| -max <= value && value <= max;
        is_within(self.longitude, LONGITUDE_MAX) && is_within(self.latitude, LATITUDE_MAX)
    }

    /// As an integer of 52 bits.
    pub fn encode(self) -> u64 {
        Cell::of(self, STEP_MAX, LATITUDE_MAX).bits
    }

    /// The middle of the smallest cell with these bits.
    pub fn decode(bits: u64) -> Place {
        let area = Cell { bits, step: STEP_MAX }.area();
        let middle = |from: f64, to: f64, max: f64| ((from + to) / 2.0).clamp(-max, max);
        Place {
            longitude: middle(area.west, area.east, LONGITUDE_MAX),
            latitude: middle(area.south, area.north, LATITUDE_MAX),
        }
    }

    /// The geohash that others use, of eleven letters: its grid reaches to the poles, and its last letter stands for
    /// bits that are not known and is `0`.
    pub fn text(self) -> [u8; 11] {
        const LETTERS: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
        let bits = Cell::of(self, STEP_MAX, LATITUDE_MAX_OF_TEXT).bits;
        std::array::from_fn(|index| match index {
            10 => LETTERS[0],
            _ => LETTERS[(bits >> (52 - (index + 1) * 5) & 31) as usize],
        })
    }

    /// Metres between two places, on a sphere.
    pub fn distance_m(self, other: Place) -> f64 {
        let v = ((other.longitude * RADIANS - self.longitude * RADIANS) / 2.0).sin();
        if v == 0.0 {
            return latitude_distance_m(self.latitude, other.latitude);
        }
        let (from, to) = (self.latitude * RADIANS, other.latitude * RADIANS);
        let u = ((to - from) / 2.0).sin();
        let a = u * u + from.cos() * to.cos() * v * v;
        2.0 * EARTH_RADIUS_M * a.sqrt().asin()
    }
}

/// Metres between two circles of latitude.
fn latitude_distance_m(from: f64, to: f64) -> f64 {
    EARTH_RADIUS_M * (to * RADIANS - from * RADIANS).abs()
}

/// A cell of the grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cell {
    bits: u64,
    step: u8,
}

/// What a cell covers, in degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Area {
    west: f64,
    east: f64,
    south: f64,
    north: f64,
}

impl Cell {
    fn of(place: Place, step: u8, latitude_max: f64) -> Cell {
        let cells = (1u64 << step) as f64;
        let longitude = (place.longitude + LONGITUDE_MAX) / (2.0 * LONGITUDE_MAX) * cells;
        let latitude = (place.latitude + latitude_max) / (2.0 * latitude_max) * cells;
        Cell { bits: spread(latitude as u32) | spread(longitude as u32) << 1, step }
    }

    fn area(self) -> Area {
        let cells = (1u64 << self.step) as f64;
        let edge = |index: f64, max: f64| -max + index / cells * (2.0 * max);
        let (latitude, longitude) = (f64::from(gather(self.bits)), f64::from(gather(self.bits >> 1)));
        Area {
            west: edge(longitude, LONGITUDE_MAX),
            east: edge(longitude + 1.0, LONGITUDE_MAX),
            south: edge(latitude, LATITUDE_MAX),
            north: edge(latitude + 1.0, LATITUDE_MAX),
        }
    }

    /// The cell so many cells to the east and to the north (-1, 0 or 1), around the globe.
    fn neighbour(self, east: i32, north: i32) -> Cell {
        let bits_of_step = |bits: u64| bits >> (64 - 2 * u32::from(self.step));
        let moved = |own: u64, others: u64, by: i32| {
            // The bits between are all ones, so that a carry goes through them.
            let bits = self.bits & own;
            let between = bits_of_step(others);
            let bits = match by {
                // At the very end of its range a coordinate has one bit more than the step, which stays.
                0 => return bits,
                1 => bits.wrapping_add(between.wrapping_add(1)),
                _ => (bits | between).wrapping_sub(between.wrapping_add(1)),
            };
            bits & bits_of_step(own)
        };
        let longitude = moved(LONGITUDE_BITS, LATITUDE_BITS, east);
        let latitude = moved(LATITUDE_BITS, LONGITUDE_BITS, north);
        Cell { bits: longitude | latitude, step: self.step }
    }

    /// The integers of all places in it: from, and up to but without.
    fn range(self) -> (u64, u64) {
        let shift = 52 - 2 * u32::from(self.step);
        (self.bits << shift, (self.bits + 1) << shift)
    }
}

/// The bits of a number with a gap behind each.
fn spread(number: u32) -> u64 {
    let mut bits = u64::from(number);
    bits = (bits | bits << 16) & 0x0000_ffff_0000_ffff;
    bits = (bits | bits << 8) & 0x00ff_00ff_00ff_00ff;
    bits = (bits | bits << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    bits = (bits | bits << 2) & 0x3333_3333_3333_3333;
    (bits | bits << 1) & LATITUDE_BITS
}

/// Every second bit, from the lowest on.
fn gather(bits: u64) -> u32 {
    let mut bits = bits & LATITUDE_BITS;
    bits = (bits | bits >> 1) & 0x3333_3333_3333_3333;
    bits = (bits | bits >> 2) & 0x0f0f_0f0f_0f0f_0f0f;
    bits = (bits | bits >> 4) & 0x00ff_00ff_00ff_00ff;
    bits = (bits | bits >> 8) & 0x0000_ffff_0000_ffff;
    (bits | bits >> 16) as u32
}

/// What a search is for. Lengths are in metres.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// All around a centre.
    Circle {
        /// Its centre.
        centre: Place,
        /// Its radius.
        radius_m: f64,
    },
    /// A box that looks north.
    Rectangle {
        /// Its centre.
        centre: Place,
        /// From west to east.
        width_m: f64,
        /// From south to north.
        height_m: f64,
    },
    /// What these corners enclose, three at least.
    Polygon {
        /// In order; the last one is followed by the first.
        corners: Vec<Place>,
    },
}

impl Shape {
    /// Its centre; of a polygon, the mean of its corners.
    pub fn centre(&self) -> Place {
        match self {
            Shape::Circle { centre, .. } | Shape::Rectangle { centre, .. } => *centre,
            Shape::Polygon { corners } => {
                let mean = |of: fn(&Place) -> f64| corners.iter().map(of).sum::<f64>() / corners.len() as f64;
                Place { longitude: mean(|place| place.longitude), latitude: mean(|place| place.latitude) }
            }
        }
    }

    /// Metres from the centre to a place, if it lies in the shape.
    pub fn distance_within_m(&self, place: Place) -> Option<f64> {
        let centre = self.centre();
        match self {
            Shape::Circle { radius_m, .. } => {
                let distance_m = centre.distance_m(place);
                (distance_m <= *radius_m).then_some(distance_m)
            }
            Shape::Rectangle { width_m, height_m, .. } => {
                if height_m / 2.0 < latitude_distance_m(place.latitude, centre.latitude) {
                    return None;
                }
                let across = Place { longitude: centre.longitude, latitude: place.latitude };
                if width_m / 2.0 < place.distance_m(across) {
                    return None;
                }
                Some(centre.distance_m(place))
            }
            Shape::Polygon { corners } => is_enclosed(corners, place).then(|| centre.distance_m(place)),
        }
    }

    /// The smallest box around it.
    fn bounds(&self) -> Area {
        let (centre, half_width_m, half_height_m) = match self {
            Shape::Circle { centre, radius_m } => (*centre, *radius_m, *radius_m),
            Shape::Rectangle { centre, width_m, height_m } => (*centre, width_m / 2.0, height_m / 2.0),
            Shape::Polygon { corners } => {
                let fold = |of: fn(&Place) -> f64, pick: fn(f64, f64) -> f64| {
                    corners.iter().map(of).reduce(pick).expect("at least three corners")
                };
                return Area {
                    west: fold(|place| place.longitude, f64::min),
                    east: fold(|place| place.longitude, f64::max),
                    south: fold(|place| place.latitude, f64::min),
                    north: fold(|place| place.latitude, f64::max),
                };
            }
        };
        let height = half_height_m / EARTH_RADIUS_M / RADIANS;
        // The side that is nearer to the pole spans more degrees.
        let widest = if centre.latitude < 0.0 { centre.latitude - height } else { centre.latitude + height };
        let width = half_width_m / EARTH_RADIUS_M / (widest * RADIANS).cos() / RADIANS;
        Area {
            west: centre.longitude - width,
            east: centre.longitude + width,
            south: centre.latitude - height,
            north: centre.latitude + height,
        }
    }

    /// Metres from the centre to the farthest point.
    fn reach_m(&self, bounds: &Area) -> f64 {
        match self {
            Shape::Circle { radius_m, .. } => *radius_m,
            Shape::Rectangle { width_m, height_m, .. } => {
                ((width_m / 2.0) * (width_m / 2.0) + (height_m / 2.0) * (height_m / 2.0)).sqrt()
            }
            Shape::Polygon { .. } => {
                let corners = [(bounds.west, bounds.south), (bounds.east, bounds.north)];
                let distance_m = |(longitude, latitude)| self.centre().distance_m(Place { longitude, latitude });
                corners.into_iter().map(distance_m).fold(0.0, f64::max)
            }
        }
    }

    /// The ranges of integers in which everything lies that is in the shape, and more: nine at most, in Redis' order,
    /// no two alike in a row.
    pub fn ranges(&self) -> Vec<(u64, u64)> {
        let bounds = self.bounds();
        let centre = self.centre();
        let mut step = step_for(self.reach_m(&bounds), centre.latitude);
        let mut cell = Cell::of(centre, step, LATITUDE_MAX);
        let is_too_small = cell.neighbour(0, 1).area().north < bounds.north
            || bounds.south < cell.neighbour(0, -1).area().south
            || cell.neighbour(1, 0).area().east < bounds.east
            || bounds.west < cell.neighbour(-1, 0).area().west;
        if 1 < step && is_too_small {
            step -= 1;
            cell = Cell::of(centre, step, LATITUDE_MAX);
        }
        let area = cell.area();
        let is_useful = |east: i32, north: i32| {
            step < 2
                || !(north < 0 && area.south < bounds.south
                    || 0 < north && bounds.north < area.north
                    || east < 0 && area.west < bounds.west
                    || 0 < east && bounds.east < area.east)
        };
        let around = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)];
        let mut cells: Vec<Cell> = Vec::with_capacity(around.len());
        for (east, north) in around {
            let neighbour = cell.neighbour(east, north);
            if is_useful(east, north) && cells.last() != Some(&neighbour) {
                cells.push(neighbour);
            }
        }
        cells.into_iter().map(Cell::range).collect()
    }
}

/// Whether a place lies within corners: a line from it to the east crosses their edges an odd number of times.
fn is_enclosed(corners: &[Place], place: Place) -> bool {
    let mut is_inside = false;
    let mut before = corners[corners.len() - 1];
    for &corner in corners {
        if (place.latitude < corner.latitude) != (place.latitude < before.latitude) {
            let share = (place.latitude - corner.latitude) / (before.latitude - corner.latitude);
            is_inside ^= place.longitude < corner.longitude + share * (before.longitude - corner.longitude);
        }
        before = corner;
    }
    is_inside
}

/// The step of cells that are about as large as what is searched for. Near the poles degrees are shorter.
fn step_for(reach_m: f64, latitude: f64) -> u8 {
    if reach_m == 0.0 {
        return STEP_MAX;
    }
    let mut reach_m = reach_m;
    let mut step = 1i32;
    while reach_m < MERCATOR_MAX_M {
        reach_m *= 2.0;
        step += 1;
    }
    step -= 2;
    if 66.0 < latitude.abs() {
        step -= 1;
        if 80.0 < latitude.abs() {
            step -= 1;
        }
    }
    step.clamp(1, i32::from(STEP_MAX)) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn place(longitude: f64, latitude: f64) -> Place {
        Place { longitude, latitude }
    }

    fn places() -> impl Strategy<Value = Place> {
        (-180.0..180.0, -85.0..85.0).prop_map(|(longitude, latitude)| place(longitude, latitude))
    }

    /// Known from Redis' documentation, and from other geohashes.
    #[test]
    fn known_places() {
        let palermo = place(13.361389, 38.115556);
        let catania = place(15.087269, 37.502669);
        assert_eq!(palermo.encode(), 3_479_099_956_230_698);
        assert_eq!(catania.encode(), 3_479_447_370_796_909);
        assert_eq!(&Place::decode(palermo.encode()).text(), b"sqc8b49rny0");
        assert_eq!(&Place::decode(catania.encode()).text(), b"sqdtr74hyu0");
        let [palermo, catania] = [palermo, catania].map(|place| Place::decode(place.encode()));
        assert_eq!(format!("{:.4}", palermo.distance_m(catania)), "166274.1516");
        assert_eq!(format!("{:.17}", palermo.longitude), "13.36138933897018433");
    }

    proptest! {
        #[test]
        fn a_place_comes_back_within_its_cell(place in places()) {
            let decoded = Place::decode(place.encode());
            prop_assert!((decoded.longitude - place.longitude).abs() < 3e-6);
            prop_assert!((decoded.latitude - place.latitude).abs() < 2e-6);
            prop_assert!(decoded.encode() < 1 << 52);
        }

        /// All that lies in a shape is in its ranges, away from the line where the longitudes meet and from the poles.
        #[test]
        fn ranges_cover_the_shape(
            centre in (-120.0..120.0, -60.0..60.0).prop_map(|(longitude, latitude)| place(longitude, latitude)),
            offset in (-1.0..1.0, -1.0..1.0),
            size_m in 1.0..2_000_000.0,
        ) {
            let degrees = size_m / EARTH_RADIUS_M / RADIANS;
            let probe = place(centre.longitude + offset.0 * 2.0 * degrees, centre.latitude + offset.1 * degrees);
            let corners = [(-1.0, -1.0), (1.0, -1.0), (0.0, 1.0)]
                .map(|(x, y)| place(centre.longitude + x * degrees, centre.latitude + y * degrees));
            let shapes = [
                Shape::Circle { centre, radius_m: size_m },
                Shape::Rectangle { centre, width_m: 2.0 * size_m, height_m: size_m },
                Shape::Polygon { corners: corners.to_vec() },
            ];
            for shape in shapes {
                if probe.is_valid() && shape.distance_within_m(probe).is_some() {
                    let bits = probe.encode();
                    prop_assert!(shape.ranges().iter().any(|&(from, to)| from <= bits && bits < to), "{shape:?}");
                }
            }
        }

        #[test]
        fn neighbours_of_neighbours_come_back(place in places(), step in 1u8..=26) {
            let cell = Cell::of(place, step, LATITUDE_MAX);
            for (east, north) in [(1, 0), (0, 1), (1, 1), (-1, 1)] {
                prop_assert_eq!(cell.neighbour(east, north).neighbour(-east, -north), cell);
            }
        }
    }

    #[test]
    fn a_polygon_encloses_what_is_within() {
        let corners = vec![place(0.0, 0.0), place(10.0, 0.0), place(10.0, 10.0), place(5.0, 2.0), place(0.0, 10.0)];
        let shape = Shape::Polygon { corners };
        for (inside, longitude, latitude) in
            [(true, 1.0, 1.0), (true, 9.0, 5.0), (false, 5.0, 5.0), (false, 11.0, 1.0), (false, 5.0, -0.1)]
        {
            assert_eq!(shape.distance_within_m(place(longitude, latitude)).is_some(), inside, "{longitude} {latitude}");
        }
    }
}
