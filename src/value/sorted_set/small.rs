//! The small form of a sorted set: a listpack of member, score, member, score, … in order. Everything is found by
//! walking. A score is an integer where it can be (so -0 becomes 0), else the text that Redis prints for it.

use crate::structure::listpack::{Element, Listpack, Position};
use crate::value::number::{format_double, parse_double};
use std::cmp::Ordering;

/// A listpack of pairs.
#[derive(Debug, Clone, Default)]
pub(super) struct Small(pub Listpack);

/// The number that a listpack's element says.
fn score_of(element: Element<'_>) -> f64 {
    match element {
        Element::Integer(integer) => integer as f64,
        Element::Bytes(text) => parse_double(text).expect("scores are checked when a listpack comes from outside"),
    }
}

/// The integer as which Redis stores a score, if it is one and not too large.
fn integer_of(score: f64) -> Option<i64> {
    const INTEGER_MAX: f64 = (i64::MAX / 2) as f64;
    (score.abs() <= INTEGER_MAX && score.trunc() == score).then_some(score as i64)
}

impl Small {
    pub fn len(&self) -> usize {
        self.0.len() / 2
    }

    /// Where a member is, and its score.
    pub fn find(&self, member: &[u8]) -> Option<(Position, f64)> {
        let at = self.0.find(self.0.first(), member, 1)?;
        Some((at, self.score_behind(at)))
    }

    fn score_behind(&self, member: Position) -> f64 {
        score_of(self.0.at(self.0.next(member).expect("a member has a score")))
    }

    /// The rank of a member and its score.
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        let mut pairs = self.0.iter();
        let mut rank = 0;
        loop {
            let (other, score) = (pairs.next()?, pairs.next()?);
            if other.is_text(member) {
                return Some((rank, score_of(score)));
            }
            rank += 1;
        }
    }

    /// The number of members at the beginning that are as `is_before` says.
    pub fn count_while(&self, mut is_before: impl FnMut(&[u8], f64) -> bool) -> usize {
        let mut pairs = self.0.iter();
        let mut count = 0;
        let mut digits = itoa::Buffer::new();
        while let (Some(member), Some(score)) = (pairs.next(), pairs.next()) {
            if !is_before(member.bytes(&mut digits), score_of(score)) {
                break;
            }
            count += 1;
        }
        count
    }

    /// The number of members at the end that are as `is_behind` says.
    pub fn count_back_while(&self, mut is_behind: impl FnMut(&[u8], f64) -> bool) -> usize {
        let mut pairs = self.0.iter().rev();
        let mut count = 0;
        let mut digits = itoa::Buffer::new();
        while let (Some(score), Some(member)) = (pairs.next(), pairs.next()) {
            if !is_behind(member.bytes(&mut digits), score_of(score)) {
                break;
            }
            count += 1;
        }
        count
    }

    /// Adds a member that is not there.
    pub fn insert(&mut self, member: &[u8], score: f64) {
        let mut place = self.0.first();
        let mut digits = itoa::Buffer::new();
        while let Some(at) = place {
            let behind = self.0.next(at).expect("a member has a score");
            let order = score_of(self.0.at(behind)).partial_cmp(&score).expect("scores are numbers");
            if order == Ordering::Greater || order == Ordering::Equal && member < self.0.at(at).bytes(&mut digits) {
                break;
            }
            place = self.0.next(behind);
        }
        self.insert_at(place, member, score);
    }

    /// Adds a member at the end.
    pub fn push(&mut self, member: &[u8], score: f64) {
        self.insert_at(None, member, score);
    }

    fn insert_at(&mut self, place: Option<Position>, member: &[u8], score: f64) {
        let text;
        let score = match integer_of(score) {
            Some(integer) => Element::Integer(integer),
            None => {
                text = format_double(score);
                Element::Bytes(text.as_bytes())
            }
        };
        self.0.insert_all(place, [Element::Bytes(member), score]);
    }

    /// Takes out the member at a position.
    pub fn remove(&mut self, at: Position) {
        self.0.remove_from(at, 2);
    }

    /// Visits all members, with their scores as texts.
    pub fn visit_texts(&self, mut visit: impl FnMut(&[u8], &[u8])) {
        let mut pairs = self.0.iter();
        let mut digits = [itoa::Buffer::new(), itoa::Buffer::new()];
        while let (Some(member), Some(score)) = (pairs.next(), pairs.next()) {
            let [of_member, of_score] = &mut digits;
            visit(member.bytes(of_member), score.bytes(of_score));
        }
    }

    /// Visits members of consecutive ranks.
    pub fn visit(&self, start: usize, count: usize, is_back: bool, mut visit: impl FnMut(&[u8], f64)) {
        let mut digits = itoa::Buffer::new();
        let last = start + count;
        let Some(from) = (0 < count).then(|| if is_back { last - 1 } else { start }) else { return };
        let Some(mut at) = self.0.position(2 * from as i64) else { return };
        for turn in 1..=count {
            let behind = self.0.next(at).expect("a member has a score");
            visit(self.0.at(at).bytes(&mut digits), score_of(self.0.at(behind)));
            if turn == count {
                break;
            }
            let next = match is_back {
                true => self.0.previous(at).and_then(|score| self.0.previous(score)),
                false => self.0.next(behind),
            };
            at = next.expect("the caller knows how many there are");
        }
    }
}
