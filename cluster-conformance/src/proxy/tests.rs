use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::time::Instant;

use super::*;

/// A connection through a new proxy: its two ends.
fn through(faults: Faults) -> (Proxy, TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::bind(1, faults).unwrap();
    proxy.lead_to(listener.local_addr().unwrap());
    let near = TcpStream::connect(proxy.address()).unwrap();
    let (far, _) = listener.accept().unwrap();
    for stream in [&near, &far] {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
    }
    (proxy, near, far)
}

fn numbered(length: usize) -> Vec<u8> {
    (0..length).map(|number| number as u8).collect()
}

#[test]
fn bytes_arrive_unchanged_in_any_pieces_and_in_both_directions() {
    for pieces in [Pieces::AsTheyCome, Pieces::Random, Pieces::Single] {
        let (_proxy, mut near, mut far) = through(Faults { pieces, delay: Some(0..=0), ..Faults::default() });
        let bytes = numbered(20_000);
        near.write_all(&bytes).unwrap();
        far.write_all(&bytes).unwrap();
        let mut read = vec![0; bytes.len()];
        near.read_exact(&mut read).unwrap();
        assert!(read == bytes);
        far.read_exact(&mut read).unwrap();
        assert!(read == bytes);
        near.shutdown(Shutdown::Write).unwrap();
        assert_eq!(far.read(&mut read).unwrap(), 0);
        far.write_all(b"one direction is still open").unwrap();
        assert!(near.read(&mut read).unwrap() > 0);
    }
}

#[test]
fn a_life_ends_as_it_should() {
    for (end, resets) in [(End::Close, false), (End::Reset, true)] {
        let (proxy, mut near, mut far) = through(Faults { life: Some(1_000..=1_000), end, ..Faults::default() });
        near.write_all(&numbered(1_000)).unwrap();
        let mut read = vec![0; 1_000];
        // What a reset overtakes is lost.
        let mut rest = vec![];
        let arrived = far.read_to_end(&mut rest);
        assert_eq!(arrived.is_err(), resets, "{end:?}");
        assert_eq!(near.read(&mut read).is_err(), resets, "{end:?}");
        assert_eq!(proxy.connections(), 1);
        // The sides may hear of it before it is counted.
        let deadline = Instant::now() + Duration::from_secs(10);
        while proxy.cuts() == 0 && Instant::now() < deadline {
            thread::yield_now();
        }
        assert_eq!(proxy.cuts(), 1);
    }
}

#[test]
fn a_stalled_connection_says_nothing_to_anybody_and_a_half_open_one_to_one_side() {
    for (end, told) in [(End::Stall, false), (End::HalfOpen, true)] {
        let (_proxy, mut near, mut far) = through(Faults { life: Some(10..=10), end, ..Faults::default() });
        near.write_all(&numbered(10)).unwrap();
        let mut read = vec![0; 10];
        let arrived = far.read_exact(&mut read);
        assert!(told || arrived.is_ok());
        for (stream, told) in [(&mut near, false), (&mut far, told)] {
            stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            let silent = stream
                .read(&mut read)
                .is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
            assert_eq!(silent, !told, "{end:?}");
        }
    }
}

#[test]
fn what_is_cut_waits_until_it_is_healed() {
    let (proxy, mut near, mut far) = through(Faults::default());
    let mut read = [0; 5];
    proxy.cut(None);
    near.write_all(b"hello").unwrap();
    far.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(far.read(&mut read).is_err());
    proxy.heal(None);
    far.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    far.read_exact(&mut read).unwrap();
    assert_eq!(&read, b"hello");
    assert_eq!((proxy.half_open(), proxy.close(), proxy.reset(None)), (1, 0, 0));
}

#[test]
fn dropping_a_proxy_ends_its_connections_and_its_port() {
    let (proxy, mut near, mut far) = through(Faults::default());
    let address = proxy.address();
    proxy.cut(None);
    drop(proxy);
    assert!(!matches!(near.read(&mut [0]), Ok(1..)));
    assert!(!matches!(far.read(&mut [0]), Ok(1..)));
    assert!(TcpStream::connect(address).is_err());
}
