//! Ctrl-C: it ends a command at once, unless the command says that it decides itself what happens.

use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::signal::unix::{Signal, SignalKind, signal};

static HELD: AtomicUsize = AtomicUsize::new(0);

/// As long as it lives, Ctrl-C is the business of who has it.
pub(crate) struct Hold(());

pub(crate) fn hold() -> Hold {
    HELD.fetch_add(1, Ordering::SeqCst);
    Hold(())
}

impl Drop for Hold {
    fn drop(&mut self) {
        HELD.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Every Ctrl-C from now on, one at a time. Where signals can't be had, there is none.
pub(crate) struct Presses(Option<Signal>);

impl Presses {
    pub(crate) fn new() -> Self {
        Self(signal(SignalKind::interrupt()).ok())
    }

    pub(crate) async fn next(&mut self) {
        let pressed = match &mut self.0 {
            Some(signal) => signal.recv().await,
            None => None,
        };
        if pressed.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

/// Ends when Ctrl-C was pressed while nobody held it.
pub(crate) async fn pressed() {
    let mut presses = Presses::new();
    loop {
        presses.next().await;
        if HELD.load(Ordering::SeqCst) == 0 {
            return;
        }
    }
}
