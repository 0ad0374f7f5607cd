//! Two nodes meet, and one greets the other: `cargo run -p cluster-std --example hello-std`.

use cluster_std::{Config, Node, keys};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::new(keys::generate_secret()?); // every node needs the same secret
    let n1 = Node::bind("localhost:0", config.clone())?;
    let n2 = Node::bind("localhost:0", config)?;
    n1.join(n2.local_addr())?;
    n1.broadcast("Hello, world!")?;
    let message = n2.recv()?;
    println!("{}", String::from_utf8_lossy(&message.payload));
    n1.leave();
    n2.leave();
    Ok(())
}
