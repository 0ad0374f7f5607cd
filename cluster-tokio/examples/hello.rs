//! Two nodes meet, and one greets the other: `cargo run -p cluster-tokio --example hello`.

use cluster_tokio::{Config, Node, keys};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::new(keys::generate_secret()?); // every node needs the same secret
    let n1 = Node::bind("localhost:0", config.clone()).await?;
    let n2 = Node::bind("localhost:0", config).await?;
    n1.join(n2.local_addr()).await?;
    n1.broadcast("Hello, world!")?;
    let message = n2.recv().await?;
    println!("{}", String::from_utf8_lossy(&message.payload));
    n1.leave().await;
    n2.leave().await;
    Ok(())
}
