//! Owns what interrupts a running move: a signal to the process, or a wish left in the catalog.

use crate::error::Error;
use crate::journal::Wish;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Looked at between steps, chunks and tries; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    signal: AtomicBool,
    wish: Mutex<Option<Wish>>,
    interrupted: AtomicBool,
}

impl Asked {
    /// A signal asks the process to end.
    pub fn signal(&self) {
        self.inner.signal.store(true, Ordering::SeqCst);
    }

    /// Whether a signal has asked the process to end.
    pub fn is_signalled(&self) -> bool {
        self.inner.signal.load(Ordering::SeqCst)
    }

    /// What the catalog says somebody wishes.
    pub fn heard(&self, wish: Option<Wish>) {
        *self.inner.wish.lock().unwrap_or_else(PoisonError::into_inner) = wish;
    }

    /// An error that ends what is under way, when it is to be ended. Cleaning up for good and
    /// giving back are not for steps before the keys change hands.
    ///
    /// # Errors
    /// Somebody has asked.
    pub fn go_on(&self) -> Result<(), Error> {
        let wish = *self.inner.wish.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_signalled() || matches!(wish, Some(Wish::Pause | Wish::Abort)) {
            self.inner.interrupted.store(true, Ordering::SeqCst);
            return Err(Error::Stopped("asked to stop".to_owned()));
        }
        Ok(())
    }

    /// Whether an error came from [`Asked::go_on`] since [`Asked::take_interrupted`].
    pub fn is_interrupted(&self) -> bool {
        self.inner.interrupted.load(Ordering::SeqCst)
    }

    /// Whether an error came from [`Asked::go_on`] since this was last asked.
    pub fn take_interrupted(&self) -> bool {
        self.inner.interrupted.swap(false, Ordering::SeqCst)
    }
}
