//! Ranges of scores and of members, as clients ask for them. How they are written is the commands' concern.

/// Scores between two bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoreRange {
    /// The lower bound …
    pub min: f64,
    /// … which does not belong to the range.
    pub min_exclusive: bool,
    /// The upper bound …
    pub max: f64,
    /// … which does not belong to the range.
    pub max_exclusive: bool,
}

impl ScoreRange {
    /// Whether a score lies below the range.
    #[inline]
    pub fn is_below(&self, score: f64) -> bool {
        if self.min_exclusive { score <= self.min } else { score < self.min }
    }

    /// Whether a score does not lie above the range.
    #[inline]
    pub fn is_up_to_max(&self, score: f64) -> bool {
        if self.max_exclusive { score < self.max } else { score <= self.max }
    }
}

/// A bound of members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LexBound<'a> {
    /// Below all members: `-`.
    Lowest,
    /// Above all members: `+`.
    Highest,
    /// A member that belongs to the range: `[`.
    Inclusive(&'a [u8]),
    /// A member that does not: `(`.
    Exclusive(&'a [u8]),
}

/// Members between two bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LexRange<'a> {
    /// The lower bound.
    pub min: LexBound<'a>,
    /// The upper bound.
    pub max: LexBound<'a>,
}

impl LexRange<'_> {
    /// Whether no member can lie in it.
    pub fn is_empty(&self) -> bool {
        use LexBound::{Exclusive, Highest, Inclusive, Lowest};
        match (self.min, self.max) {
            (Highest, _) | (_, Lowest) => true,
            (Lowest, _) | (_, Highest) => false,
            (Inclusive(min), Inclusive(max)) => max < min,
            (Inclusive(min) | Exclusive(min), Inclusive(max) | Exclusive(max)) => max <= min,
        }
    }

    /// Whether a member lies below the range.
    #[inline]
    pub fn is_below(&self, member: &[u8]) -> bool {
        match self.min {
            LexBound::Lowest => false,
            LexBound::Highest => true,
            LexBound::Inclusive(min) => member < min,
            LexBound::Exclusive(min) => member <= min,
        }
    }

    /// Whether a member does not lie above the range.
    #[inline]
    pub fn is_up_to_max(&self, member: &[u8]) -> bool {
        match self.max {
            LexBound::Lowest => false,
            LexBound::Highest => true,
            LexBound::Inclusive(max) => member <= max,
            LexBound::Exclusive(max) => member < max,
        }
    }
}
