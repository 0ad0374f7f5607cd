//! The listener's task: takes connections and asks the core which of them to keep.

use std::sync::Arc;

use cluster_host::{ACCEPT_PAUSE, AcceptErrors};
use tokio::net::TcpListener;

use crate::tasks::Shell;

/// Takes connections until it is aborted.
pub(crate) async fn listen(shell: Arc<Shell>, listener: TcpListener) {
    let mut errors = AcceptErrors::default();
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                errors.clear();
                shell.admit(stream, from);
            }
            Err(error) => {
                if errors.must_pause(&error, shell.address) {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}
