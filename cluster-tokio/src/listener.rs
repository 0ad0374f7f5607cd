//! The listener's task: takes connections and asks the core which of them to keep.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use crate::driver::{Caller, Shared};
use crate::link;

/// How long no connection is taken after the operating system could not give one, usually for want of descriptors.
/// Without it the task would spin, because the connection still waits.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Takes connections until it is aborted.
pub(crate) async fn listen(shared: Arc<Shared>, listener: TcpListener) {
    let mut pausing = false;
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                pausing = false;
                admit(&shared, stream, from);
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                if !std::mem::replace(&mut pausing, true) {
                    tracing::warn!(address = %shared.address, %error, "accepting no connections for now");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn admit(shared: &Arc<Shared>, stream: TcpStream, from: SocketAddr) {
    shared.enter(Caller::Other, |state, now| match state.core.accept(now, from) {
        Ok(link) => link::accept(shared, state, link, stream),
        // Whoever is turned away learns nothing, and leaves nothing behind here.
        Err(_) => drop(stream.set_zero_linger()),
    });
}

/// Whether an error of accept is about the connection that was to be accepted, so that the next one may be fine.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
