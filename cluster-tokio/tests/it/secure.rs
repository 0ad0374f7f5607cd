//! Nodes with a secret, and those who do not have it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use cluster_tokio::{BindError, Config, Event, Identity, Keyring, Node, NodeId, Reason, Secret, Suite, keys};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::world::{bind, bind_with, local, text, until, until_complete, up, within};

fn secret(byte: u8) -> Secret {
    Secret::from_bytes([byte; 32])
}

/// Fast timing, and a secret.
fn secure() -> Config {
    Config::new(secret(1)).local()
}

async fn mesh_of(count: usize, config: impl Fn(usize) -> Config) -> Vec<Node> {
    let mut nodes = Vec::new();
    for number in 0..count {
        nodes.push(bind_with(config(number)).await);
    }
    for node in &nodes[1..] {
        within("join", node.join(nodes[0].local_addr())).await.expect("the first node answers");
    }
    until_complete(&nodes).await;
    nodes
}

#[tokio::test]
async fn nodes_with_one_secret_meet_and_talk_whatever_cipher_each_prefers() {
    let suites = [Suite::ChaChaPoly, Suite::AesGcm, Suite::ChaChaPoly];
    let nodes = mesh_of(3, |number| secure().suite(suites[number])).await;
    for message in ["short".to_owned(), "long".repeat(1_000_000)] {
        for node in &nodes {
            assert_eq!(node.broadcast(message.clone()).unwrap().queued.len(), 2);
        }
        for node in &nodes {
            assert!(text(node).await == message && text(node).await == message);
        }
    }
    for node in nodes {
        assert_eq!(within("leave", node.leave()).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_nodes_with_a_secret_form_a_mesh() {
    let first = bind_with(Config::new(secret(1))).await;
    let mut nodes = vec![first.clone()];
    for _ in 1..50 {
        nodes.push(bind_with(Config::new(secret(1)).seed(first.local_addr().into())).await);
    }
    until_complete(&nodes).await;
    assert_eq!(first.broadcast("everyone").unwrap().queued.len(), 49);
    for node in &nodes[1..] {
        assert_eq!(text(node).await, "everyone");
    }
}

#[tokio::test]
async fn who_has_another_secret_or_none_gets_no_word_and_changes_nothing() {
    let alice = bind_with(secure()).await;
    for config in [Config::new(secret(2)).local(), secure().cluster("other".parse().unwrap()), local()] {
        let stranger = bind_with(config).await;
        assert!(within("join", stranger.join(alice.local_addr())).await.is_err());
        assert!(stranger.peers().is_empty());
    }
    let hello = b"\xf5clu\x01\x01\x01\x00\x00\x00\x00\x00\x00\x30";
    for words in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[&hello[..], &[7; 48]].concat(), &[0xff; 4_000]] {
        let mut stream = TcpStream::connect(alice.local_addr()).await.unwrap();
        let _ = stream.write_all(words).await;
        let mut answer = Vec::new();
        let _ = within("close", stream.read_to_end(&mut answer)).await;
        assert!(answer.is_empty(), "{answer:?}");
    }
    assert!(alice.peers().is_empty() && alice.stats().failed_handshakes >= 6);
}

#[tokio::test]
async fn without_a_secret_no_node_listens_where_others_can_reach_it_unless_that_is_meant() {
    for everywhere in ["0.0.0.0:0", "[::]:0"] {
        match Node::bind(everywhere, local()).await {
            Err(BindError::Config(error)) => assert!(error.to_string().contains("secret"), "{error}"),
            // This machine may have no IPv6.
            Err(BindError::Listen { .. }) => continue,
            other => panic!("{other:?}"),
        }
        assert!(Node::bind(everywhere, local().plaintext_beyond_loopback()).await.is_ok());
        assert!(Node::bind(everywhere, secure()).await.is_ok());
    }
}

#[tokio::test]
async fn an_identity_keeps_its_id_and_a_node_that_is_taken_off_the_list_is_gone() {
    let identities: Vec<Identity> = (0..3).map(|_| keys::generate_identity().unwrap()).collect();
    let ids: Vec<NodeId> = identities.iter().map(Identity::id).collect();
    let config = |number: usize| secure().identity(identities[number].clone()).allow(ids.clone());
    let nodes = mesh_of(3, config).await;
    assert_eq!(nodes.iter().map(Node::id).collect::<Vec<_>>(), ids);

    let stranger = bind_with(secure()).await;
    assert!(within("join", stranger.join(nodes[0].local_addr())).await.is_err());

    let mut events = nodes[0].events();
    nodes[0].set_config(nodes[0].config().allow(ids[..2].to_vec())).unwrap();
    let down = within("down", async {
        loop {
            if let Some(Event::PeerDown { peer, reason, .. }) = events.next().await {
                return (peer.id, reason);
            }
        }
    });
    assert_eq!(down.await, (ids[2], Reason::NotAllowed));
    assert_eq!(up(&nodes[0]), [ids[1]].into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changing_the_secret_of_five_nodes_under_traffic_loses_and_doubles_nothing() {
    const MESSAGES: u32 = 3_000;
    let nodes = mesh_of(5, |_| secure()).await;
    let mut traffic = tokio::task::JoinSet::new();
    for (number, node) in nodes.iter().cloned().enumerate() {
        let (to, from) = (nodes[(number + 1) % 5].id(), nodes[(number + 4) % 5].id());
        let sender = node.clone();
        traffic.spawn(async move {
            for message in 0..MESSAGES {
                sender.send(to, message.to_be_bytes().to_vec()).await.unwrap();
                tokio::time::sleep(std::time::Duration::from_micros(100)).await;
            }
        });
        traffic.spawn(async move {
            for expected in 0..MESSAGES {
                let message = within("message", node.recv()).await.unwrap();
                assert_eq!((message.from.id, &message.payload[..]), (from, &expected.to_be_bytes()[..]));
            }
        });
    }
    let (old, new) = (secret(1), secret(2));
    let steps = [
        Keyring::new(old.clone()).accept(new.clone()),
        Keyring::new(new.clone()).accept(old),
        Keyring::new(new.clone()),
    ];
    for keyring in steps {
        for node in &nodes {
            node.set_config(node.config().keyring(keyring.clone())).unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
    while let Some(done) = within("traffic", traffic.join_next()).await {
        done.unwrap();
    }
    until_complete(&nodes).await;
    assert!(nodes.iter().all(|node| node.stats().messages_undelivered == 0));
    assert!(nodes.iter().any(|node| node.stats().sessions_resumed > 0));
}

/// Carries bytes to `target`, and keeps them.
async fn wiretap(target: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, kept) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let keeper = Arc::clone(&kept);
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let Ok(far) = TcpStream::connect(target).await else { return };
            let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
            for (mut read, mut write) in [(near_read, far_write), (far_read, near_write)] {
                let keeper = Arc::clone(&keeper);
                tokio::spawn(async move {
                    let mut buffer = vec![0; 65_536];
                    while let Ok(length @ 1..) = read.read(&mut buffer).await {
                        keeper.lock().unwrap().extend_from_slice(&buffer[..length]);
                        let _ = write.write_all(&buffer[..length]).await;
                    }
                });
            }
        }
    });
    (address, kept)
}

#[tokio::test]
async fn what_is_sent_is_on_the_wire_only_without_a_secret() {
    let canary = b"a canary of thirty-two bytes it is";
    for (config, seen) in [(secure(), false), (local(), true)] {
        let (alice, bob) = (bind_with(config.clone()).await, bind_with(config).await);
        let (tunnel, kept) = wiretap(bob.local_addr()).await;
        within("join", alice.join(tunnel)).await.unwrap();
        for size in [1, 3_000] {
            alice.send(bob.id(), canary.repeat(size)).await.unwrap();
            assert_eq!(text(&bob).await.len(), canary.len() * size);
        }
        let kept = kept.lock().unwrap();
        assert!(kept.len() > 100_000);
        assert_eq!(kept.windows(8).any(|window| canary.windows(8).any(|part| part == window)), seen);
    }
}

#[tokio::test]
async fn a_plain_and_a_secure_node_never_meet() {
    let (plain, secure) = (bind().await, bind_with(secure()).await);
    assert!(within("join", plain.join(secure.local_addr())).await.is_err());
    assert!(within("join", secure.join(plain.local_addr())).await.is_err());
    until("nothing is left", || plain.peers().is_empty() && secure.peers().is_empty()).await;
}
