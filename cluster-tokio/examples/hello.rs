//! Two nodes meet, and one greets the other: `cargo run -p cluster-tokio --example hello`.

use cluster_tokio::{Config, Node};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let n1 = Node::bind("localhost:0", Config::insecure_plaintext()).await?;
    let n2 = Node::bind("localhost:0", Config::insecure_plaintext()).await?;
    n1.join(n2.local_addr()).await?;
    n1.broadcast("Hello, world!")?;
    let message = n2.recv().await?;
    println!("{}", String::from_utf8_lossy(&message.payload));
    n1.leave().await;
    n2.leave().await;
    Ok(())
}
