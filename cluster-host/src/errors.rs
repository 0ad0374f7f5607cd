//! What errors of the operating system mean.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use cluster_core::Disconnect;

/// How long no connection is taken after the operating system could not give one, usually for want of descriptors.
/// Without the pause the acceptor would spin, because the connection still waits.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Returns what a failed dial says about the address, or about this host.
#[must_use]
pub fn dial_failure(error: &io::Error) -> Disconnect {
    // EMFILE and ENFILE have these numbers on every Unix; Windows has its own for the first.
    const NO_DESCRIPTORS: [i32; 3] = [24, 23, 10_024];
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Disconnect::Refused,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => Disconnect::Reset,
        io::ErrorKind::OutOfMemory => Disconnect::Exhausted,
        _ if error.raw_os_error().is_some_and(|code| NO_DESCRIPTORS.contains(&code)) => Disconnect::Exhausted,
        _ => Disconnect::Unreachable,
    }
}

/// The errors of a listening socket since it last gave a connection.
#[derive(Debug, Default)]
pub struct AcceptErrors {
    pausing: bool,
}

impl AcceptErrors {
    /// Forgets the errors: a connection was accepted.
    pub fn clear(&mut self) {
        self.pausing = false;
    }

    /// Returns whether to wait for [`ACCEPT_PAUSE`] before the next try. Only the first error of several is logged.
    pub fn must_pause(&mut self, error: &io::Error, address: SocketAddr) -> bool {
        if is_about_one_connection(error) {
            return false;
        }
        if !std::mem::replace(&mut self.pausing, true) {
            tracing::warn!(%address, %error, "accepting no connections for now");
        }
        true
    }
}

/// Returns whether an error of accept is about the connection that was waiting, so that the next one may be fine.
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dial_without_descriptors_says_nothing_about_the_address() {
        for (code, cause) in [(24, Disconnect::Exhausted), (23, Disconnect::Exhausted)] {
            assert_eq!(dial_failure(&io::Error::from_raw_os_error(code)), cause);
        }
        assert_eq!(dial_failure(&io::ErrorKind::ConnectionRefused.into()), Disconnect::Refused);
        assert_eq!(dial_failure(&io::ErrorKind::ConnectionReset.into()), Disconnect::Reset);
        assert_eq!(dial_failure(&io::ErrorKind::TimedOut.into()), Disconnect::Unreachable);
    }

    #[test]
    fn acceptor_pauses_unless_the_error_is_about_one_connection() {
        let address = SocketAddr::from(([127, 0, 0, 1], 7_000));
        let mut errors = AcceptErrors::default();
        assert!(!errors.must_pause(&io::ErrorKind::ConnectionAborted.into(), address));
        assert!(errors.must_pause(&io::Error::from_raw_os_error(24), address));
        assert!(errors.must_pause(&io::Error::from_raw_os_error(24), address));
        errors.clear();
        assert!(errors.must_pause(&io::Error::from_raw_os_error(24), address));
    }
}
