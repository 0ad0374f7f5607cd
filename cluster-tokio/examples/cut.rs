//! A message survives the connection that carries it: `cargo run -p cluster-tokio --example cut`.

use std::net::SocketAddr;
use std::sync::Arc;

use cluster_tokio::{Config, Node, keys};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::new(keys::generate_secret()?).local();
    let bob = Node::bind("localhost:0", config.clone()).await?;
    let cut = Arc::new(Notify::new());
    let cable = cable(bob.local_addr(), Arc::clone(&cut)).await?;

    let alice = Node::bind("localhost:0", config).await?;
    let id = alice.join(cable).await?;
    alice.send(id, "before the cut").await?;
    println!("{}", String::from_utf8_lossy(&bob.recv().await?.payload));

    // Whether the next message is already on its way is anybody's guess. It arrives, and it arrives once.
    cut.notify_waiters();
    alice.send(id, "across the cut").await?;
    println!("{}", String::from_utf8_lossy(&bob.recv().await?.payload));

    alice.flush(id).await?;
    let stats = alice.stats();
    println!("{} delivered, over {} connections", stats.messages_delivered, stats.links_up);
    alice.leave().await;
    bob.leave().await;
    Ok(())
}

/// A way to `target` that is cut when somebody says so, and can be used again at once.
async fn cable(target: SocketAddr, cut: Arc<Notify>) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("localhost:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let cut = Arc::clone(&cut);
            tokio::spawn(async move {
                let Ok(mut far) = TcpStream::connect(target).await else { return };
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    () = cut.notified() => {}
                }
            });
        }
    });
    Ok(address)
}
