//! Last words of a process that a signal ends: one line in the log, written from the signal's handler.
//!
//! The handler does only what signal-safety(7) allows: it opens and writes a file and formats numbers on its stack.
//! Then it gives the signal back to whoever had it (the standard library tells of overflown stacks; the kernel ends the
//! process and dumps core).
//!
//! This is not the place for panics: those have a message and a stack to show; see `runtime::crash`.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fmt::{self, Write};
use std::io;
use std::path::Path;
use std::sync::OnceLock;

/// The signals that end a process because of what it did itself.
const SIGNALS: [libc::c_int; 5] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGABRT];

/// Longest line, in bytes.
const LINE_BYTES_MAX: usize = 256;

/// What the handler finds prepared.
struct Prepared {
    /// The log's file; none: standard output.
    file: Option<CString>,
    /// Who had the signals before, in the order of [`SIGNALS`].
    before: [libc::sigaction; SIGNALS.len()],
}

static PREPARED: OnceLock<Prepared> = OnceLock::new();

/// From now on a signal that ends this process leaves a line in `log` (none: on standard output). Once per process.
///
/// # Errors
/// What the system refuses, and a path with a NUL in it.
pub fn watch(log: Option<&Path>) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let file = log.map(|path| CString::new(path.as_os_str().as_bytes())).transpose()?;
    // SAFETY: all-zero is a valid sigaction: the default action, no flags, an empty mask.
    let mut before: [libc::sigaction; SIGNALS.len()] = unsafe { std::mem::zeroed() };
    for (&signal, before) in std::iter::zip(&SIGNALS, &mut before) {
        // SAFETY: `before` is a valid place to write.
        if unsafe { libc::sigaction(signal, std::ptr::null(), before) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    assert!(PREPARED.set(Prepared { file, before }).is_ok(), "signals are watched once");
    // SAFETY: all-zero as above.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = handle;
    action.sa_sigaction = handler as usize;
    // On a stack of its own: the thread's may be what overflowed.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    for signal in SIGNALS {
        // SAFETY: the handler keeps to what signal-safety(7) allows, and lives as long as the process.
        if unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

extern "C" fn handle(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    let Some(prepared) = PREPARED.get() else { return };
    // SAFETY: the kernel hands over a valid siginfo; a signal of this kind has an address, others a harmless number.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    let mut line = Line { bytes: [0; LINE_BYTES_MAX], len: 0 };
    // SAFETY: getpid and time take no pointers that could be wrong.
    let (pid, now) = unsafe { (libc::getpid(), libc::time(std::ptr::null_mut())) };
    let version = env!("CARGO_PKG_VERSION");
    let _ =
        write!(line, "{pid}:signal-handler ({now}) Corering {version} crashed by signal: {signal}, si_code: {code}");
    let _ = match code {
        // Sent by a process, this one perhaps: there is no address.
        ..=0 => writeln!(line),
        _ => writeln!(line, ", accessing address: {address:#x}"),
    };
    append(prepared.file.as_ref(), &line.bytes[..line.len]);
    let before = SIGNALS.iter().position(|known| *known == signal).map(|index| &prepared.before[index]);
    if let Some(before) = before {
        // SAFETY: `before` was filled by the kernel.
        unsafe { libc::sigaction(signal, before, std::ptr::null_mut()) };
    }
    if code <= 0 {
        // What was sent does not come again by itself. It waits until this handler returns.
        // SAFETY: the call takes no pointers.
        unsafe { libc::raise(signal) };
    }
}

/// Writes at the end of a file, or to standard output. Where that fails there is nobody to tell.
fn append(file: Option<&CString>, bytes: &[u8]) {
    // SAFETY: the path ends with a NUL, the bytes are valid for their length, and a descriptor that was opened is
    // closed once.
    unsafe {
        let fd = match file {
            Some(file) => libc::open(file.as_ptr(), libc::O_WRONLY | libc::O_APPEND | libc::O_CREAT, 0o644),
            None => libc::STDOUT_FILENO,
        };
        libc::write(fd, bytes.as_ptr().cast(), bytes.len());
        if file.is_some() {
            libc::close(fd);
        }
    }
}

/// A line on the stack; what does not fit is cut off.
struct Line {
    bytes: [u8; LINE_BYTES_MAX],
    len: usize,
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let take = text.len().min(LINE_BYTES_MAX - self.len);
        self.bytes[self.len..self.len + take].copy_from_slice(&text.as_bytes()[..take]);
        self.len += take;
        Ok(())
    }
}

/// Ends the process as an access to memory that is not there does.
pub fn fault() -> ! {
    // The first goes to `handle`, the second to what the standard library installed, the third to the kernel.
    for _ in 0..3 {
        // SAFETY: the call takes no pointers.
        unsafe { libc::raise(libc::SIGSEGV) };
    }
    std::process::abort();
}

/// Ends the process by SIGALRM in so many seconds, whatever its threads are stuck in.
pub fn end_in(seconds: u32) {
    // SAFETY: the call takes no pointers.
    unsafe { libc::alarm(seconds) };
}
