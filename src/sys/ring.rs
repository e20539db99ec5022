//! One core's private io_uring: multishot accept and recv into provided buffers, sends that own their bytes, wakes
//! between rings. It meets the kernel in one place, [`Ring::enter`]: everything queued since the last pass goes in,
//! everything completed comes out.
//!
//! Set-up: `SINGLE_ISSUER | DEFER_TASKRUN` (the kernel completes work only when this thread enters, so a pass sees
//! whole batches and no interrupts in between), buffers handed over through a shared ring by a store, no system call.
//!
//! ```text
//! user data of an operation, 64 bits:   [ kind: 8 | unused: 24 | index: 32 ]
//! ```
//!
//! Why a send owns its bytes: the kernel reads them until the completion, whatever happens to the connection. They
//! live in [`Ring`] until then, and a ring that is dropped leaks what is still in flight rather than freeing it.
#![allow(unsafe_code)]

use super::bell::Bell;
use super::file::{self, Blocks};
use bytes::Bytes;
use io_uring::types::{self, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

/// Bytes of one receive buffer.
pub const RECEIVE_BUFFER_BYTES: usize = 16 * 1024;
/// Receive buffers of one core; together 4 MiB, backed by two huge pages where the kernel has them.
pub const RECEIVE_BUFFERS: u16 = 256;
/// A receive buffer is filled up to here at least, if so much has come; see [`Ring::fill_at_most`].
pub const FILL_BYTES_MIN: usize = 4 * 1024;
/// So many buffers in a row a multishot receive fills before others have their turn. Older kernels (before 6.8) go on
/// while there are any.
pub const BURST_BUFFERS: usize = 32;
/// Submission entries; a pass that fills them submits early.
const SUBMISSION_ENTRIES: u32 = 1024;
/// Completion entries: a multishot burst must fit.
const COMPLETION_ENTRIES: u32 = 8192;
/// The group id of the receive buffers.
const BUFFER_GROUP: u16 = 0;

const KIND_ACCEPT: u64 = 1;
const KIND_RECEIVE: u64 = 2;
const KIND_SEND: u64 = 3;
const KIND_WAKE: u64 = 4;
const KIND_IGNORE: u64 = 5;
const KIND_QUICK: u64 = 6;
const KIND_WRITE: u64 = 7;
const KIND_SYNC: u64 = 8;
const KIND_ZERO: u64 = 9;

const fn user_data(kind: u64, index: u32) -> u64 {
    kind << 56 | index as u64
}

/// What the kernel finished.
#[derive(Debug)]
pub enum Event {
    /// A socket was accepted on the listener with this index.
    Accepted {
        /// Index given to [`Ring::accept`].
        listener: u32,
        /// The new socket, or the error number.
        socket: Result<RawFd, i32>,
        /// False: the kernel ended the multishot, arm it again.
        armed: bool,
    },
    /// Bytes arrived, the peer closed (`Ok(None)`), or receiving failed.
    Received {
        /// Index given to [`Ring::receive`].
        index: u32,
        /// The buffer to read and give back, `None` at the end of the stream, or the error number.
        data: Result<Option<Buffer>, i32>,
        /// False: nothing more is received (always so after an end, an error, or [`Ring::receive_once`]).
        armed: bool,
    },
    /// A send ended; its bytes come back for reuse.
    Sent {
        /// Index given to [`Ring::send`].
        index: u32,
        /// Bytes sent (all of them, unless the socket broke), or the error number.
        result: Result<usize, i32>,
        /// What was sent.
        payload: Payload,
    },
    /// Of a quick send only the beginning, or nothing, was sent; see [`Ring::send_at_once`].
    Unsent {
        /// Index given to [`Ring::send_at_once`].
        index: u32,
        /// Bytes sent, or the error number.
        result: Result<usize, i32>,
        /// The buffer.
        bytes: Vec<u8>,
    },
    /// The write into a file ended; see [`Ring::write_file`].
    Written {
        /// Bytes written, or the error number.
        result: Result<usize, i32>,
        /// What was written.
        blocks: Blocks,
    },
    /// The sync of a file ended: the error number, if it failed.
    Synced(Result<(), i32>),
    /// Zeros were written into a file: how many bytes, or the error number; see [`Ring::zero_file`].
    Zeroed(Result<usize, i32>),
    /// Another core (or the signal thread) wants attention.
    Woken,
}

/// Wakes a core from any thread, also from one that has no ring. Raised once or often, it is never lowered: it is for
/// what comes at most a few times in a server's life.
#[derive(Debug)]
pub struct Alarm(OwnedFd);

impl Alarm {
    /// Makes one; see [`Ring::watch`].
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new() -> io::Result<Alarm> {
        // SAFETY: no pointer is passed.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was made just above and belongs to nobody else.
        Ok(Alarm(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Wakes the ring that watches it, or keeps it from falling asleep.
    pub fn raise(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: eight bytes are read from an array of eight. It can only fail when the count is full, and then the
        // ring was woken often enough.
        unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }
}

/// A filled receive buffer; hand it back with [`Ring::give_back`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffer {
    id: u16,
    len: u32,
}

/// What a send reads from.
#[derive(Debug)]
pub enum Payload {
    /// One buffer.
    Buffer(Vec<u8>),
    /// Pieces that others may hold too, at most [`PIECES_MAX`], none of them empty.
    Pieces(Vec<Bytes>),
}

impl Payload {
    /// Bytes in it.
    pub fn len(&self) -> usize {
        match self {
            Payload::Buffer(bytes) => bytes.len(),
            Payload::Pieces(pieces) => pieces.iter().map(Bytes::len).sum(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Pieces of one send: the kernel copies the list of so few to its own stack.
pub const PIECES_MAX: usize = 8;

/// What of a send of pieces the kernel reads beside them.
struct Scatter {
    header: libc::msghdr,
    vectors: [libc::iovec; PIECES_MAX],
}

/// A send in flight.
struct Sending {
    payload: Payload,
    /// `None`: one buffer. Boxed, so that it stays where the kernel was told.
    scatter: Option<Box<Scatter>>,
}

/// The ring of one core. Not `Send` in spirit: made and used on one thread (`SINGLE_ISSUER`).
pub struct Ring {
    uring: IoUring,
    buffers: *mut u8,
    buffer_ring: *mut types::BufRingEntry,
    buffer_tail: u16,
    /// So much of a buffer is filled at most.
    fill_bytes: u32,
    /// Sends in flight, by index.
    sending: Vec<Option<Sending>>,
    /// The write into a file that is in flight.
    writing: Option<Blocks>,
    /// Quick sends of this pass; `None`: it failed, see `unsent`.
    quick: Vec<(u32, Option<Vec<u8>>)>,
    /// Quick sends that failed, and have yet to be told of.
    unsent: VecDeque<Event>,
    completions: Vec<(u64, i32, u32)>,
    next_completion: usize,
    min_wait: bool,
    /// Times this ring entered the kernel.
    pub enters: u64,
}

/// Anonymous memory that lives as long as the process.
fn map_bytes(bytes: usize) -> io::Result<*mut u8> {
    // SAFETY: an anonymous private mapping at an address of the kernel's choice aliases nothing.
    let at = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(at.cast()) }
}

/// Adds what an operator can do about it to the kernel's answer.
fn explain(error: io::Error) -> io::Error {
    let mend = match error.raw_os_error() {
        Some(libc::EPERM) | Some(libc::EACCES) => {
            "io_uring is forbidden here: set kernel.io_uring_disabled=0 (sysctl), or allow io_uring_setup, io_uring_enter \
             and io_uring_register in the container's seccomp profile"
        }
        Some(libc::ENOSYS) => "this kernel has no io_uring: Linux 6.1 or newer is needed",
        Some(libc::EINVAL) => {
            "this kernel's io_uring lacks SINGLE_ISSUER, DEFER_TASKRUN or buffer rings: Linux 6.1 or newer is needed"
        }
        Some(libc::ENOMEM) => {
            "locked memory is too small: raise it (ulimit -l, or LimitMEMLOCK= in the unit) to at least 512 KiB per core"
        }
        Some(libc::EMFILE) | Some(libc::ENFILE) => "no file descriptor is left: raise ulimit -n",
        _ => "see the error number in io_uring_setup(2)",
    };
    io::Error::new(error.kind(), format!("cannot set up io_uring: {error}; {mend}"))
}

impl Ring {
    /// Sets up the ring for the calling thread.
    ///
    /// # Errors
    /// What the kernel refused, why, and the mend, in words for the operator.
    pub fn new() -> io::Result<Ring> {
        let mut builder = IoUring::builder();
        builder.setup_cqsize(COMPLETION_ENTRIES).setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
        let uring: IoUring = builder.build(SUBMISSION_ENTRIES).map_err(explain)?;
        let min_wait = uring.params().is_feature_min_timeout();
        let buffers = map_bytes(RECEIVE_BUFFERS as usize * RECEIVE_BUFFER_BYTES)?;
        // SAFETY: the range was mapped just above; the advice changes no contents.
        unsafe {
            libc::madvise(buffers.cast(), RECEIVE_BUFFERS as usize * RECEIVE_BUFFER_BYTES, libc::MADV_HUGEPAGE);
        }
        let buffer_ring: *mut types::BufRingEntry =
            map_bytes(RECEIVE_BUFFERS as usize * size_of::<types::BufRingEntry>())?.cast();
        // SAFETY: the mapping holds RECEIVE_BUFFERS entries, is page aligned, and is never unmapped.
        unsafe {
            uring
                .submitter()
                .register_buf_ring_with_flags(buffer_ring as u64, RECEIVE_BUFFERS, BUFFER_GROUP, 0)
                .map_err(explain)?;
        }
        let mut ring = Ring {
            uring,
            buffers,
            buffer_ring,
            buffer_tail: 0,
            fill_bytes: RECEIVE_BUFFER_BYTES as u32,
            sending: Vec::new(),
            writing: None,
            quick: Vec::new(),
            unsent: VecDeque::new(),
            completions: Vec::with_capacity(COMPLETION_ENTRIES as usize),
            next_completion: 0,
            min_wait,
            enters: 0,
        };
        // A registered ring saves the file table look-up of every enter; a kernel without it is no reason to stop.
        let _ = ring.uring.submitter().register_ring_fd();
        for id in 0..RECEIVE_BUFFERS {
            ring.queue_buffer(id);
        }
        ring.publish_buffers();
        Ok(ring)
    }

    /// Enters the kernel once, to see that it is allowed.
    ///
    /// # Errors
    /// What the kernel refused, why, and the mend, in words for the operator.
    pub fn probe(&mut self) -> io::Result<()> {
        self.push(&opcode::Nop::new().build().user_data(user_data(KIND_IGNORE, 0)));
        self.uring.submit_and_wait(1).map(drop).map_err(explain)
    }

    /// The descriptor by which other rings wake this one.
    pub fn fd(&self) -> RawFd {
        self.uring.as_raw_fd()
    }

    fn queue_buffer(&mut self, id: u16) {
        assert!(id < RECEIVE_BUFFERS);
        // SAFETY: the index is masked to the ring's size (a power of two); the address lies in the mapped buffers.
        unsafe {
            let entry = &mut *self.buffer_ring.add((self.buffer_tail & (RECEIVE_BUFFERS - 1)) as usize);
            entry.set_addr(self.buffers.add(id as usize * RECEIVE_BUFFER_BYTES) as u64);
            entry.set_len(self.fill_bytes);
            entry.set_bid(id);
        }
        self.buffer_tail = self.buffer_tail.wrapping_add(1);
    }

    /// How much of a receive buffer is filled at most from now on, in bytes: what a burst can bring.
    pub fn fill_at_most(&mut self, bytes: usize) {
        self.fill_bytes = bytes.clamp(FILL_BYTES_MIN, RECEIVE_BUFFER_BYTES) as u32;
        for at in 0..RECEIVE_BUFFERS {
            // SAFETY: in the mapping, which holds RECEIVE_BUFFERS entries. The kernel reads them when it receives: only
            // while this thread enters it (DEFER_TASKRUN).
            unsafe { (*self.buffer_ring.add(at as usize)).set_len(self.fill_bytes) };
        }
    }

    fn publish_buffers(&mut self) {
        // SAFETY: the tail lies in the first entry of the registered ring; the kernel only reads it.
        unsafe {
            let tail = types::BufRingEntry::tail(self.buffer_ring).cast::<AtomicU16>();
            (*tail).store(self.buffer_tail, Ordering::Release);
        }
    }

    fn push(&mut self, entry: &squeue::Entry) {
        loop {
            // SAFETY: what the entry points to (provided buffers, owned sends) outlives the operation.
            if unsafe { self.uring.submission().push(entry) }.is_ok() {
                return;
            }
            self.enters += 1;
            self.uring.submit().expect("a full submission queue can be submitted");
        }
    }

    /// Accepts on a listening socket until cancelled; each socket comes as [`Event::Accepted`].
    pub fn accept(&mut self, listener: RawFd, index: u32) {
        let entry = opcode::AcceptMulti::new(Fd(listener))
            .flags(libc::SOCK_CLOEXEC)
            .build()
            .user_data(user_data(KIND_ACCEPT, index));
        self.push(&entry);
    }

    /// Stops accepting for the listener with this index.
    pub fn cancel_accept(&mut self, index: u32) {
        let entry =
            opcode::AsyncCancel::new(user_data(KIND_ACCEPT, index)).build().user_data(user_data(KIND_IGNORE, 0));
        self.push(&entry);
    }

    /// Receives from a socket until it ends, fails, is cancelled, or buffers run out.
    pub fn receive(&mut self, socket: RawFd, index: u32) {
        let entry = opcode::RecvMulti::new(Fd(socket), BUFFER_GROUP).build().user_data(user_data(KIND_RECEIVE, index));
        self.push(&entry);
    }

    /// Receives one buffer from a socket, when there is something to receive.
    pub fn receive_once(&mut self, socket: RawFd, index: u32) {
        let entry = opcode::Recv::new(Fd(socket), std::ptr::null_mut(), RECEIVE_BUFFER_BYTES as u32)
            .buf_group(BUFFER_GROUP)
            .build()
            .flags(squeue::Flags::BUFFER_SELECT)
            .user_data(user_data(KIND_RECEIVE, index));
        self.push(&entry);
    }

    /// Stops receiving for this index; an [`Event::Received`] with `armed: false` follows.
    pub fn cancel_receive(&mut self, index: u32) {
        let entry =
            opcode::AsyncCancel::new(user_data(KIND_RECEIVE, index)).build().user_data(user_data(KIND_IGNORE, 0));
        self.push(&entry);
    }

    /// Sends all of `bytes`; at most one send per index may be in flight.
    pub fn send(&mut self, socket: RawFd, index: u32, bytes: Vec<u8>) {
        self.make_room_to_send(index);
        assert!(!bytes.is_empty());
        let at = index as usize;
        // MSG_WAITALL: the kernel goes on after a short send, so that a completion means all or broken.
        let entry = opcode::Send::new(Fd(socket), bytes.as_ptr(), bytes.len().min(u32::MAX as usize >> 1) as u32)
            .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
            .build()
            .user_data(user_data(KIND_SEND, index));
        self.sending[at] = Some(Sending { payload: Payload::Buffer(bytes), scatter: None });
        self.push(&entry);
    }

    /// The same of several pieces.
    pub fn send_pieces(&mut self, socket: RawFd, index: u32, pieces: Vec<Bytes>) {
        self.make_room_to_send(index);
        assert!(!pieces.is_empty() && pieces.len() <= PIECES_MAX && pieces.iter().all(|piece| !piece.is_empty()));
        let nothing = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        // SAFETY: a header of zeros is a valid one, without anything to send.
        let header: libc::msghdr = unsafe { std::mem::zeroed() };
        let mut scatter = Box::new(Scatter { header, vectors: [nothing; PIECES_MAX] });
        for (vector, piece) in scatter.vectors.iter_mut().zip(&pieces) {
            *vector = libc::iovec { iov_base: piece.as_ptr().cast_mut().cast(), iov_len: piece.len() };
        }
        scatter.header.msg_iov = scatter.vectors.as_mut_ptr();
        scatter.header.msg_iovlen = pieces.len();
        let entry = opcode::SendMsg::new(Fd(socket), &raw const scatter.header)
            .flags((libc::MSG_WAITALL | libc::MSG_NOSIGNAL) as u32)
            .build()
            .user_data(user_data(KIND_SEND, index));
        self.sending[index as usize] = Some(Sending { payload: Payload::Pieces(pieces), scatter: Some(scatter) });
        self.push(&entry);
    }

    /// Sends `bytes` as far as the socket has room, without a completion if it has room for all: what is the rule for
    /// replies costs the kernel and the pass nothing but the send itself, and does not end the sleep that follows.
    ///
    /// The next [`Ring::enter`] does it (or an earlier submission); the buffer comes back by [`Ring::take_sent`] after
    /// that. If not all was sent, [`Event::Unsent`] is among the events of that very enter.
    #[inline]
    pub fn send_at_once(&mut self, socket: RawFd, index: u32, bytes: Vec<u8>) {
        assert!(!bytes.is_empty() && bytes.len() <= u32::MAX as usize >> 1);
        // MSG_DONTWAIT: a send that cannot go on fails at once. MSG_WAITALL: a short one fails too, and so is told of.
        let entry = opcode::Send::new(Fd(socket), bytes.as_ptr(), bytes.len() as u32)
            .flags(libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(user_data(KIND_QUICK, self.quick.len() as u32));
        self.quick.push((index, Some(bytes)));
        self.push(&entry);
    }

    /// The buffers of quick sends, for reuse. To be called after each [`Ring::enter`].
    #[inline]
    pub fn take_sent(&mut self, mut take: impl FnMut(Vec<u8>)) {
        // Where not everything was submitted, the kernel has yet to read from some; where completions did not fit into
        // their queue, it has yet to say which failed.
        let queue = self.uring.submission();
        if queue.is_empty() && !queue.cq_overflow() {
            drop(queue);
            self.quick.drain(..).for_each(|(_, bytes)| bytes.into_iter().for_each(&mut take));
        }
    }

    /// Whether quick sends have yet to be done, or to be told of.
    #[inline]
    pub fn has_quick_sends(&self) -> bool {
        !self.quick.is_empty() || !self.unsent.is_empty()
    }

    /// Whether a quick send with this index has yet to be done.
    pub fn is_sending_at_once(&self, index: u32) -> bool {
        self.quick.iter().any(|(of, _)| *of == index)
    }

    /// Notes that a quick send failed.
    #[cold]
    fn note_unsent(&mut self, at: usize, result: i32) {
        let (index, bytes) = &mut self.quick[at];
        let bytes = bytes.take().expect("a send completes once");
        let result = match result {
            0.. => Ok(result as usize),
            error if error == -libc::EAGAIN => Ok(0),
            error => Err(-error),
        };
        self.unsent.push_back(Event::Unsent { index: *index, result, bytes });
    }

    /// Writes `blocks` but their first `skipped` bytes into a file, from an offset on; one such write is in flight at
    /// most. `is_synced`: when it is reported it is on disk.
    pub fn write_file(&mut self, file: RawFd, offset: u64, blocks: Blocks, skipped: usize, is_synced: bool) {
        assert!(self.writing.is_none(), "one write is in flight at most");
        let bytes = &blocks.bytes()[skipped..];
        let entry = opcode::Write::new(Fd(file), bytes.as_ptr(), bytes.len().min(WRITE_BYTES_MAX) as u32)
            .offset(offset)
            .rw_flags(if is_synced { libc::RWF_DSYNC } else { 0 })
            .build()
            .user_data(user_data(KIND_WRITE, 0));
        self.writing = Some(blocks);
        self.push(&entry);
    }

    /// Writes so many zeros into a file from an offset on, past the page cache where it is open so; offset and number
    /// are multiples of a block. Any number of such writes may be in flight.
    ///
    /// # Panics
    /// They are more than [`file::ZEROS_BYTES`].
    pub fn zero_file(&mut self, file: RawFd, offset: u64, bytes: usize) {
        let entry = opcode::Write::new(Fd(file), file::zeros(bytes).as_ptr(), bytes as u32)
            .offset(offset)
            .build()
            .user_data(user_data(KIND_ZERO, 0));
        self.push(&entry);
    }

    /// Has all that was written into a file on disk.
    pub fn sync_file(&mut self, file: RawFd) {
        let entry =
            opcode::Fsync::new(Fd(file)).flags(types::FsyncFlags::DATASYNC).build().user_data(user_data(KIND_SYNC, 0));
        self.push(&entry);
    }

    fn make_room_to_send(&mut self, index: u32) {
        let at = index as usize;
        if self.sending.len() <= at {
            self.sending.resize_with(at + 1, || None);
        }
        assert!(self.sending[at].is_none(), "one send per connection is in flight at most");
    }

    /// Wakes the core whose ring has this descriptor. Costs no completion here.
    pub fn wake(&mut self, ring: RawFd) {
        let entry = opcode::MsgRingData::new(Fd(ring), 0, user_data(KIND_WAKE, 0), None)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(user_data(KIND_IGNORE, 0));
        self.push(&entry);
    }

    /// Reports each raise of an alarm as [`Event::Woken`]. The alarm lives as long as the ring.
    pub fn watch(&mut self, alarm: &Alarm) {
        let entry = opcode::PollAdd::new(Fd(alarm.0.as_raw_fd()), libc::POLLIN as u32)
            .multi(true)
            .build()
            .user_data(user_data(KIND_WAKE, 0));
        self.push(&entry);
    }

    /// Rings a bell whenever something completes, or none. The bell lives until this is called again, or longer.
    pub fn ring_bell(&mut self, bell: Option<&Bell>) {
        let submitter = self.uring.submitter();
        let result = match bell {
            Some(bell) => submitter.register_eventfd(bell.as_raw_fd()),
            None => submitter.unregister_eventfd(),
        };
        result.expect("a ring has one bell at most");
    }

    /// The bytes of a filled buffer.
    pub fn bytes(&self, buffer: Buffer) -> &[u8] {
        assert!(buffer.id < RECEIVE_BUFFERS && buffer.len as usize <= RECEIVE_BUFFER_BYTES);
        // SAFETY: in the mapping by the assertion; the kernel wrote `len` bytes and does not touch the buffer again
        // before it is given back.
        unsafe {
            std::slice::from_raw_parts(self.buffers.add(buffer.id as usize * RECEIVE_BUFFER_BYTES), buffer.len as usize)
        }
    }

    /// The bytes of a filled buffer, to be decoded in place.
    pub fn bytes_mut(&mut self, buffer: Buffer) -> &mut [u8] {
        assert!(buffer.id < RECEIVE_BUFFERS && buffer.len as usize <= RECEIVE_BUFFER_BYTES);
        // SAFETY: as in `bytes`; `&mut self` makes this the only view.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.buffers.add(buffer.id as usize * RECEIVE_BUFFER_BYTES),
                buffer.len as usize,
            )
        }
    }

    /// Gives a receive buffer back to the kernel; seen by it at the next [`Ring::enter`].
    pub fn give_back(&mut self, buffer: Buffer) {
        self.queue_buffer(buffer.id);
    }

    /// Hands everything queued to the kernel and collects completions.
    ///
    /// `wait`: `None` only collects; `Some(duration)` sleeps until something completes or the time is over.
    ///
    /// `expected` is how many completions are sure to come at once from what was queued (sends into sockets with room):
    /// the sleep is for one more than those. `batch` is for how many completions beyond those it is worth waiting a
    /// little ([`BATCH_US`]): at least 1. The kernel wakes the thread once for all of them.
    pub fn enter(&mut self, wait: Option<Duration>, expected: usize, batch: usize) {
        assert!(0 < batch);
        self.publish_buffers();
        self.enters += 1;
        let result = match wait {
            None => {
                let queued = self.uring.submission().len() as u32;
                // IORING_ENTER_GETEVENTS: without it DEFER_TASKRUN would complete nothing.
                const GETEVENTS: u32 = 1;
                // SAFETY: no signal mask or argument is passed.
                unsafe { self.uring.submitter().enter::<libc::sigset_t>(queued, 0, GETEVENTS, None) }
            }
            Some(duration) => {
                let timespec = Timespec::new().sec(duration.as_secs()).nsec(duration.subsec_nanos());
                let mut args = SubmitArgs::new().timespec(&timespec);
                let mut want = 1;
                if 1 < expected + batch && self.min_wait {
                    // If a send is stuck (its socket is full), or fewer come, this bounds what others lose.
                    want = expected + batch;
                    args = args.min_wait_usec(BATCH_US);
                }
                self.uring.submitter().submit_with_args(want, &args)
            }
        };
        match result {
            Ok(_) => {}
            Err(error) => match error.raw_os_error() {
                // A time-out, a signal, or completions that must be reaped first: all normal.
                Some(libc::ETIME) | Some(libc::EINTR) | Some(libc::EBUSY) | Some(libc::EAGAIN) => {}
                _ => panic!("io_uring_enter failed: {error}"),
            },
        }
        assert_eq!(self.next_completion, self.completions.len(), "all events of a pass are taken before the next");
        self.completions.clear();
        self.next_completion = 0;
        let mut queue = self.uring.completion();
        queue.sync();
        for entry in &mut queue {
            self.completions.push((entry.user_data(), entry.result(), entry.flags()));
        }
        drop(queue);
        if !self.quick.is_empty() {
            for at in 0..self.completions.len() {
                let (data, result, _) = self.completions[at];
                if data >> 56 == KIND_QUICK {
                    self.note_unsent(data as u32 as usize, result);
                }
            }
        }
    }

    /// Gives the kernel what is queued, and leaves what completes for [`Ring::enter`].
    pub fn submit(&mut self) {
        self.enters += 1;
        // What cannot be taken now (EBUSY, EAGAIN) stays queued, and goes with the next call.
        let _ = self.uring.submit();
    }

    /// Drops what completed and was not looked at: the loop has ended.
    pub fn forget_events(&mut self) {
        self.next_completion = self.completions.len();
    }

    /// Whether something completed that was not looked at yet.
    pub fn has_events(&self) -> bool {
        self.next_completion < self.completions.len()
    }

    /// Whether [`Ring::enter`] would find something, as far as the kernel has told: that is asked without entering it.
    pub fn has_completed(&mut self) -> bool {
        self.uring.submission().taskrun() || !self.uring.completion().is_empty()
    }

    /// The next completed operation of this pass.
    pub fn next_event(&mut self) -> Option<Event> {
        loop {
            let &(data, result, flags) = self.completions.get(self.next_completion)?;
            self.next_completion += 1;
            let index = data as u32;
            let armed = cqueue::more(flags);
            return Some(match data >> 56 {
                KIND_ACCEPT => {
                    let socket = if result < 0 { Err(-result) } else { Ok(result) };
                    Event::Accepted { listener: index, socket, armed }
                }
                KIND_RECEIVE => {
                    let buffer = cqueue::buffer_select(flags).map(|id| Buffer { id, len: result.max(0) as u32 });
                    let data = match (result, buffer) {
                        (1.., Some(buffer)) => Ok(Some(buffer)),
                        (0, buffer) => {
                            if let Some(buffer) = buffer {
                                self.give_back(buffer);
                            }
                            Ok(None)
                        }
                        (error, _) => Err(-error),
                    };
                    Event::Received { index, data, armed }
                }
                KIND_SEND => {
                    let Sending { payload, scatter } =
                        self.sending[index as usize].take().expect("a send completes once");
                    drop(scatter);
                    let result = if result < 0 { Err(-result) } else { Ok(result as usize) };
                    Event::Sent { index, result, payload }
                }
                KIND_QUICK => self.unsent.pop_front().expect("noted when it came"),
                KIND_WAKE => Event::Woken,
                KIND_WRITE => {
                    let blocks = self.writing.take().expect("a write completes once");
                    let result = if result < 0 { Err(-result) } else { Ok(result as usize) };
                    Event::Written { result, blocks }
                }
                KIND_SYNC => Event::Synced(if result < 0 { Err(-result) } else { Ok(()) }),
                KIND_ZERO => Event::Zeroed(if result < 0 { Err(-result) } else { Ok(result as usize) }),
                KIND_IGNORE => continue,
                other => panic!("completion of unknown kind {other}"),
            });
        }
    }
}

/// One write into a file carries at most so much; the rest follows.
const WRITE_BYTES_MAX: usize = 1 << 30;

/// How long, at most, an event waits for others to be handled with it, where others are likely. Microseconds.
pub const BATCH_US: u32 = 50;

impl Drop for Ring {
    fn drop(&mut self) {
        // The kernel may still read these: leaking them is the safe end.
        for sending in self.sending.drain(..).flatten() {
            std::mem::forget(sending);
        }
        std::mem::forget(std::mem::take(&mut self.quick));
        std::mem::forget(self.writing.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::sync::Arc;
    use std::time::Instant;

    const LONG: Duration = Duration::from_secs(120);

    #[test]
    fn an_alarm_ends_a_sleep_whenever_it_is_raised() {
        let mut ring = Ring::new().expect("a ring");
        let alarm = Arc::new(Alarm::new().expect("an event descriptor"));
        alarm.raise();
        ring.watch(&alarm);
        let started = Instant::now();
        for delay_ms in [0, 50] {
            let raiser = std::thread::spawn({
                let alarm = alarm.clone();
                move || {
                    std::thread::sleep(Duration::from_millis(delay_ms));
                    alarm.raise();
                }
            });
            ring.enter(Some(LONG), 0, 1);
            assert!(matches!(ring.next_event(), Some(Event::Woken)));
            while ring.next_event().is_some() {}
            raiser.join().unwrap();
        }
        assert!(started.elapsed() < LONG);
    }

    /// A connected pair of TCP sockets, the first with a small buffer.
    fn sockets() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let sender = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        socket2::SockRef::from(&sender).set_send_buffer_size(8192).expect("an option of sockets");
        (sender, listener.accept().expect("connected").0)
    }

    #[test]
    fn a_quick_send_says_nothing_unless_the_socket_is_full() {
        let mut ring = Ring::new().expect("a ring");
        let (sender, mut receiver) = sockets();
        let mut back = Vec::new();
        ring.send_at_once(sender.as_raw_fd(), 7, b"hello".to_vec());
        ring.enter(Some(Duration::ZERO), 0, 1);
        ring.take_sent(|bytes| back.push(bytes));
        assert!(ring.next_event().is_none() && back == [b"hello".to_vec()]);
        // Two sends of more than fits: the beginning of the first, and what fits then, or nothing, of the second.
        let many: Vec<u8> = (0..8_000_000u32).map(|at| at as u8).collect();
        ring.send_at_once(sender.as_raw_fd(), 7, many.clone());
        ring.send_at_once(sender.as_raw_fd(), 8, many.clone());
        ring.enter(None, 0, 1);
        ring.take_sent(|_| panic!("both failed"));
        let Some(Event::Unsent { index: 7, result: Ok(sent), bytes }) = ring.next_event() else { panic!("the first") };
        assert!(0 < sent && sent < many.len() && bytes == many);
        let Some(Event::Unsent { index: 8, result: Ok(more), .. }) = ring.next_event() else { panic!("the second") };
        assert!(more < many.len());
        assert!(ring.next_event().is_none());
        let mut received = vec![0; 5 + sent];
        receiver.read_exact(&mut received).expect("all that was sent");
        assert!(received[..5] == *b"hello" && received[5..] == many[..sent]);
        // What nobody takes is an error.
        drop(receiver);
        // The reset may be under way yet when the first of them is sent.
        let told = (0..100).find_map(|_| {
            ring.send_at_once(sender.as_raw_fd(), 9, b"to nobody".to_vec());
            ring.enter(None, 0, 1);
            ring.take_sent(drop);
            std::thread::sleep(Duration::from_millis(20));
            ring.next_event()
        });
        assert!(matches!(told, Some(Event::Unsent { index: 9, result: Err(_), .. })));
    }
}
