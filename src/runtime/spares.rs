//! Buffers kept for reuse. How many are worth keeping, the load says: those that lay unused from one
//! [`Spares::trim`] to the next were too many, and are freed. Not here: what makes a buffer too large to keep.

/// See the module's page.
#[derive(Debug)]
pub struct Spares<T> {
    kept: Vec<T>,
    /// The fewest there were since they were last trimmed.
    low: usize,
    max: usize,
}

impl<T: Default> Spares<T> {
    /// None yet; never more than `max`.
    pub fn new(max: usize) -> Spares<T> {
        Spares { kept: Vec::new(), low: 0, max }
    }

    /// One of them, or a new one.
    #[inline]
    pub fn take(&mut self) -> T {
        let spare = self.kept.pop();
        self.low = self.low.min(self.kept.len());
        spare.unwrap_or_default()
    }

    /// Keeps an emptied one, unless there are enough.
    #[inline]
    pub fn keep(&mut self, spare: T) {
        if self.kept.len() < self.max {
            self.kept.push(spare);
        }
    }

    /// Frees those that nobody took since the last call.
    pub fn trim(&mut self) {
        self.kept.drain(..self.low);
        self.low = self.kept.len();
        if self.kept.is_empty() {
            self.kept = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_load_needs_stays_and_the_rest_goes() {
        let mut spares: Spares<Vec<u8>> = Spares::new(10);
        (0..12).for_each(|_| spares.keep(vec![1]));
        assert_eq!(spares.kept.len(), 10, "there is a bound");
        spares.trim();
        assert_eq!(spares.kept.len(), 10, "they are new");
        let taken: Vec<_> = (0..3).map(|_| spares.take()).collect();
        taken.into_iter().for_each(|spare| spares.keep(spare));
        spares.trim();
        assert_eq!(spares.kept.len(), 3, "three were used at once");
        spares.trim();
        assert_eq!(spares.kept.len(), 0, "none was");
        assert_eq!(spares.take(), Vec::<u8>::new());
    }
}
