//! Buffers kept for reuse. How many are worth keeping, the load says: no more than were taken come back to stay, and
//! those that lay unused from one [`Spares::trim`] to the next were too many, and are freed. Not here: what makes a
//! buffer too large to keep.

/// See the module's page.
#[derive(Debug)]
pub struct Spares<T> {
    kept: Vec<T>,
    /// Taken and not brought back. Others that somebody brings are nobody's want, and would only pile up.
    lent: usize,
    /// Somebody took one since they were last trimmed.
    is_used: bool,
    /// The fewest there were since they were last trimmed.
    low: usize,
    max: usize,
}

impl<T: Default> Spares<T> {
    /// None yet; never more than `max`.
    pub fn new(max: usize) -> Spares<T> {
        Spares { kept: Vec::new(), lent: 0, is_used: false, low: 0, max }
    }

    /// One of them, or a new one.
    #[inline]
    pub fn take(&mut self) -> T {
        self.lent += 1;
        self.is_used = true;
        let spare = self.kept.pop();
        self.low = self.low.min(self.kept.len());
        spare.unwrap_or_default()
    }

    /// Keeps an emptied one, unless there are enough: `max`, or as many as were taken.
    #[inline]
    pub fn keep(&mut self, spare: T) {
        let Some(lent) = self.lent.checked_sub(1) else { return };
        self.lent = lent;
        if self.kept.len() < self.max {
            self.kept.push(spare);
        }
    }

    /// Frees those that nobody took since the last call.
    pub fn trim(&mut self) {
        self.kept.drain(..self.low);
        self.low = self.kept.len();
        if !std::mem::take(&mut self.is_used) {
            self.lent = 0; // What is out has been lost: a connection was closed over it.
        }
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
        let taken: Vec<_> = (0..12).map(|_| spares.take()).collect();
        taken.into_iter().for_each(|_| spares.keep(vec![1]));
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

    #[test]
    fn what_was_not_taken_here_is_not_kept() {
        let mut spares: Spares<Vec<u8>> = Spares::new(10);
        spares.keep(vec![1]);
        assert_eq!(spares.kept.len(), 0);
        spares.take();
        spares.keep(vec![1]);
        spares.keep(vec![2]);
        assert_eq!(spares.kept, [vec![1]]);
        // What is lost on its way is not waited for.
        spares.take();
        spares.trim();
        spares.trim();
        spares.keep(vec![1]);
        assert_eq!(spares.kept.len(), 0);
    }
}
