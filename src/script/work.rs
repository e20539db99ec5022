//! What library functions do without an instruction of Lua: counted, so that a tick comes in time also there, and
//! written into no more memory than the script may take. Not here: what a tick does (`src/runtime/script.rs`).

use super::api::{Caller, push_ending};
use crate::resp::Error;
use crate::sys::lua::{BYTES_PER_INSTRUCTION, Stack, TICK_INSTRUCTIONS, Thrown};

/// A value that is read or written takes as long as so many instructions, about …
pub const VALUE: usize = 4;
/// … and a table, whose fields are asked for by name.
pub const TABLE: usize = 32;

/// The time that some work takes, in instructions.
pub struct Work<'a> {
    caller: &'a mut dyn Caller,
    /// Until the next tick.
    left: usize,
}

impl<'a> Work<'a> {
    /// Work that begins.
    pub fn new(caller: &'a mut dyn Caller) -> Work<'a> {
        Work { caller, left: TICK_INSTRUCTIONS as usize }
    }

    /// So much was done since the last tick, for [`Stack::charge`].
    pub fn since_tick(&self) -> usize {
        TICK_INSTRUCTIONS as usize - self.left
    }

    /// So many instructions' worth is done next.
    ///
    /// # Errors
    /// The work has to end, with this text.
    #[inline]
    pub fn count(&mut self, instructions: usize) -> Result<(), &'static str> {
        match self.left.checked_sub(instructions) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => self.tick(),
        }
    }

    /// Tells of an error in what the script returns.
    pub fn tell_error(&mut self, error: &Error, is_counted: bool) {
        self.caller.returns_error(error, is_counted);
    }

    #[cold]
    fn tick(&mut self) -> Result<(), &'static str> {
        self.left = TICK_INSTRUCTIONS as usize;
        self.caller.tick().map_or(Ok(()), Err)
    }

    /// The same where a script runs, which then ends, whatever it does.
    ///
    /// # Errors
    /// The text is raised.
    #[inline]
    pub fn take(&mut self, stack: &mut Stack<'_>, instructions: usize) -> Result<(), Thrown> {
        self.count(instructions).map_err(|text| push_ending(stack, text))
    }
}

/// A string that is made for a script, and counts as its memory before it is there.
pub struct Text<'a, 'w> {
    /// What there is of it.
    pub bytes: Vec<u8>,
    /// The time that it takes.
    pub work: &'a mut Work<'w>,
    bytes_max: usize,
    has_collected: bool,
}

impl<'a, 'w> Text<'a, 'w> {
    /// An empty one.
    pub fn new(stack: &Stack<'_>, work: &'a mut Work<'w>) -> Text<'a, 'w> {
        Text { bytes: Vec::new(), work, bytes_max: stack.free_bytes(), has_collected: false }
    }

    /// Whether so many more bytes have room; garbage is not looked for.
    #[inline]
    pub fn has_room(&self, len: usize) -> bool {
        len <= self.bytes_max.saturating_sub(self.bytes.len())
    }

    /// Counts a value of so many bytes that is written next.
    ///
    /// # Errors
    /// There is no memory for it, or no time.
    #[inline]
    pub fn begin_value(&mut self, stack: &mut Stack<'_>, len: usize) -> Result<(), Thrown> {
        self.work.take(stack, VALUE + len / BYTES_PER_INSTRUCTION)?;
        if self.has_room(len) { Ok(()) } else { self.find_room(stack, len) }
    }

    #[cold]
    fn find_room(&mut self, stack: &mut Stack<'_>, len: usize) -> Result<(), Thrown> {
        if !std::mem::replace(&mut self.has_collected, true) {
            stack.collect();
            self.bytes_max = stack.free_bytes();
        }
        if self.has_room(len) { Ok(()) } else { Err(full(stack)) }
    }

    /// Pushes it.
    pub fn push(self, stack: &mut Stack<'_>) {
        stack.push_bytes(self.bytes);
    }
}

/// Raises that a script has all the memory that there is for it.
#[cold]
pub fn full(stack: &mut Stack<'_>) -> Thrown {
    stack.throw("not enough memory")
}
