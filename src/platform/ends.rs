//! The platform's ends of its workers' sockets, known without a lock: a forked child gives them up.
//!
//! A child that keeps them keeps the workers of a parent that was killed: they see no end of file.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};

/// No descriptor.
const FREE: RawFd = -1;

/// One descriptor, and the next one. Places are used again and never freed: a child that was forked
/// at any moment can walk them.
struct Place {
    descriptor: AtomicI32,
    next: OnceLock<Box<Place>>,
}

static FIRST: Place = Place { descriptor: AtomicI32::new(FREE), next: OnceLock::new() };

/// Notes a descriptor while it lives; must go before the descriptor is closed.
#[derive(Debug)]
pub(super) struct End(&'static AtomicI32);

impl End {
    pub(super) fn new(socket: &impl AsRawFd) -> Self {
        let descriptor = socket.as_raw_fd();
        let mut place = &FIRST;
        loop {
            let taken =
                place.descriptor.compare_exchange(FREE, descriptor, Ordering::AcqRel, Ordering::Relaxed);
            if taken.is_ok() {
                return Self(&place.descriptor);
            }
            place = place
                .next
                .get_or_init(|| Box::new(Place { descriptor: AtomicI32::new(FREE), next: OnceLock::new() }));
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.0.store(FREE, Ordering::Release);
    }
}

/// Gives up what a forked child has of its parent's connections; only called in such a child.
///
/// The numbers stay taken, by `/dev/null`: what the child still has of the parent's platform, and
/// never runs, cannot close or write to what gets these numbers next.
pub fn give_up_inherited() {
    let Ok(null) = std::fs::File::open("/dev/null") else { return };
    let mut place = Some(&FIRST);
    while let Some(Place { descriptor, next }) = place {
        let descriptor = descriptor.swap(FREE, Ordering::AcqRel);
        if descriptor != FREE {
            #[expect(unsafe_code, reason = "replaces a descriptor by its number")]
            // SAFETY: the number is of a socket that the parent's platform owned at the fork; no
            // thread of that platform is in this process. Plain system calls without pointers.
            unsafe {
                libc::dup2(null.as_raw_fd(), descriptor);
                libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC);
            }
        }
        place = next.get().map(|next| &**next);
    }
}
