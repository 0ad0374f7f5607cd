//! A partition, and what becomes of the mesh when it heals. Copy it into a test of your own.
//!
//! ```sh
//! cargo run -p cluster-sim --example partition
//! ```

use std::time::Duration;

use cluster_sim::World;

fn main() {
    let mut world = World::builder().seed(42).nodes(5).build().expect("a world of five nodes");
    let n: Vec<_> = world.hosts().collect();
    world.expect("a complete mesh", Duration::from_secs(10), World::is_complete);

    world.net_mut().partition(&n[..2], &n[2..]);
    world.expect("two meshes", Duration::from_secs(10), |world| world.is_mesh(&n[..2]) && world.is_mesh(&n[2..]));
    assert_eq!(world.host(n[0]).downs(n[4]), 1);

    world.net_mut().heal_all();
    world.expect("one mesh again", Duration::from_secs(60), World::is_complete);
    assert_eq!(world.host(n[0]).ups(n[4]), 2);
    println!("a partition of five nodes healed after {:?}", world.now());
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_partition_heals() {
        super::main();
    }
}
