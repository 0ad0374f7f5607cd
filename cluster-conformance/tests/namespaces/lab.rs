//! Hosts: network namespaces on one bridge.

use std::fmt::Display;
use std::io::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

/// The start of the name of every namespace. The id of the process that made it follows.
const PREFIX: &str = "cluster-test-";

/// The name server of a host that has a silent one. No host has this address.
pub(crate) const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 254);

/// The number of the next lab of this process.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// Hosts on one bridge. Dropping a lab removes them, also while a test panics.
#[derive(Debug)]
pub(crate) struct Lab {
    tag: String,
    bridge: Namespace,
    hosts: u8,
}

/// A machine of its own: a namespace with `lo` and an interface `eth0` at the bridge.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    namespace: Arc<Namespace>,
    /// The namespace of the bridge, and the port of this host there.
    bridge: String,
    port: String,
    pub(crate) v4: Ipv4Addr,
    pub(crate) v6: Ipv6Addr,
}

/// The pace of one direction of a link, and the buffer before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// As `tc` reads it, `1mbit`.
    pub(crate) rate: &'static str,
    /// The bytes that pass at once, `16kb`.
    pub(crate) burst: &'static str,
    /// The longest wait in the buffer, `400ms`: a packet that would wait longer is dropped.
    pub(crate) latency: &'static str,
}

/// A network namespace, removed on drop.
#[derive(Debug)]
struct Namespace {
    name: String,
}

impl Lab {
    /// Makes a bridge for a test. Returns `None` where there can be no namespaces, and writes the reason to stderr.
    pub(crate) fn new() -> Option<Lab> {
        static OBSTACLE: OnceLock<Option<String>> = OnceLock::new();
        if let Some(obstacle) = OBSTACLE.get_or_init(obstacle) {
            // The test harness does not capture this, so that the gate shows it.
            let _ = writeln!(std::io::stderr(), "skipped: {obstacle}");
            return None;
        }
        let tag = format!("{PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let bridge = Namespace::new(format!("{tag}-bridge"));
        bridge.ip("link add br0 type bridge");
        bridge.ip("link set br0 up");
        Some(Lab { tag, bridge, hosts: 0 })
    }

    /// Attaches a host to the bridge.
    pub(crate) fn host(&mut self) -> Host {
        self.hosts = self.hosts.checked_add(1).filter(|hosts| *hosts < 254).expect("a lab has up to 253 hosts");
        let (number, bridge) = (self.hosts, &self.bridge);
        let namespace = Namespace::new(format!("{}-{number}", self.tag));
        let (v4, v6) = address(number);
        let port = format!("port{number}");
        run("ip", &format!("link add {port} netns {} type veth peer name eth0 netns {}", bridge.name, namespace.name));
        bridge.ip(&format!("link set {port} master br0 up"));
        namespace.ip(&format!("address add {v4}/24 dev eth0"));
        // Without the detection of duplicates the address serves at once.
        namespace.ip(&format!("address add {v6}/64 dev eth0 nodad"));
        namespace.ip("link set eth0 up");
        Host { namespace: Arc::new(namespace), bridge: bridge.name.clone(), port, v4, v6 }
    }

    /// Attaches this number of hosts to the bridge.
    pub(crate) fn hosts(&mut self, count: usize) -> Vec<Host> {
        std::iter::repeat_with(|| self.host()).take(count).collect()
    }
}

/// The addresses of a host. The networks are of the kinds that sites use for themselves.
fn address(number: u8) -> (Ipv4Addr, Ipv6Addr) {
    (Ipv4Addr::new(10, 77, 0, number), Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, number.into()))
}

impl Host {
    /// A command that runs on this host.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace.name]).arg(program);
        command
    }

    /// Slows down the packets from this host to the bridge.
    pub(crate) fn limit_uplink(&self, pace: Pace) {
        limit(&self.namespace.name, "eth0", pace);
    }

    /// Slows down the packets from the bridge to this host.
    pub(crate) fn limit_downlink(&self, pace: Pace) {
        limit(&self.bridge, &self.port, pace);
    }

    /// Slows down both directions, at the two ends of the link.
    pub(crate) fn limit(&self, pace: Pace) {
        self.limit_uplink(pace);
        self.limit_downlink(pace);
    }

    /// Gives this host a name server that takes every question and answers none.
    pub(crate) fn silence_name_server(&self) {
        // Without this entry the questions would fail: no host has the address.
        self.namespace.ip(&format!("neighbour replace {NAME_SERVER} lladdr 02:00:00:00:00:01 dev eth0 nud permanent"));
        let directory = self.namespace.settings();
        std::fs::create_dir_all(&directory).expect("root may write to /etc/netns");
        let settings = format!("nameserver {NAME_SERVER}\noptions timeout:30 attempts:5\n");
        std::fs::write(directory.join("resolv.conf"), settings).expect("the directory is ours");
    }

    /// Cuts this host off: nothing passes, and neither end learns of it.
    pub(crate) fn unplug(&self) {
        run("ip", &format!("-n {} link set {} down", self.bridge, self.port));
    }

    /// Undoes [`unplug`](Host::unplug).
    pub(crate) fn plug_in(&self) {
        run("ip", &format!("-n {} link set {} up", self.bridge, self.port));
    }

    /// The bytes that have left this host, with all headers and retransmissions.
    pub(crate) fn sent(&self) -> u64 {
        // The command mounts a /sys of this namespace.
        let file = "/sys/class/net/eth0/statistics/tx_bytes";
        let output = self.command(Path::new("cat")).arg(file).output().expect("ip starts");
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim().parse().unwrap_or_else(|_| panic!("{file} is no number: {output:?}"))
    }
}

impl Namespace {
    fn new(name: String) -> Namespace {
        run("ip", &format!("netns add {name}"));
        // From here on a panic removes it.
        let namespace = Namespace { name };
        namespace.ip("link set lo up");
        namespace
    }

    /// The directory whose files `ip netns exec` shows in /etc.
    fn settings(&self) -> PathBuf {
        Path::new("/etc/netns").join(&self.name)
    }

    /// Runs `ip` on it.
    fn ip(&self, arguments: &str) {
        run("ip", &format!("-n {} {arguments}", self.name));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
        let _ = std::fs::remove_dir_all(self.settings());
    }
}

fn limit(namespace: &str, device: &str, Pace { rate, burst, latency }: Pace) {
    let filter = format!("tbf rate {rate} burst {burst} latency {latency}");
    run("tc", &format!("-n {namespace} qdisc replace dev {device} root {filter}"));
}

/// Runs a command that must succeed.
fn run(program: &str, arguments: &str) {
    if let Err(error) = attempt(program, arguments) {
        panic!("{program} {arguments}: {error}");
    }
}

/// Runs a command. Returns its output.
fn attempt(program: &str, arguments: &str) -> Result<String, String> {
    let text = |error: &dyn Display| format!("{program}: {error}");
    let output = Command::new(program).args(arguments.split_whitespace()).output().map_err(|error| text(&error))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(text(&String::from_utf8_lossy(&output.stderr).trim()))
    }
}

/// Returns the reason why there can be no namespaces here, after a try. Removes the namespaces of test processes that were killed.
fn obstacle() -> Option<String> {
    if !cfg!(target_os = "linux") {
        return Some("network namespaces need Linux".into());
    }
    let sweep = || -> Result<(), String> {
        attempt("tc", "-V")?;
        for line in attempt("ip", "netns list")?.lines() {
            let name = line.split_whitespace().next().unwrap_or_default();
            let maker = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
            // A process that has not made a namespace yet can only own one of an earlier process with its id.
            if maker.is_some_and(|id| !Path::new("/proc").join(id).exists() || id == std::process::id().to_string()) {
                remove_stale(name);
            }
        }
        let name = format!("{PREFIX}{}-try", std::process::id());
        attempt("ip", &format!("netns add {name}"))?;
        let try_out = Namespace { name };
        let name = &try_out.name;
        attempt("ip", &format!("-n {name} link add try type veth peer name other"))?;
        attempt("tc", &format!("-n {name} qdisc add dev try root tbf rate 1mbit burst 16kb latency 1s"))?;
        attempt("ip", &format!("-n {name} link add br0 type bridge"))?;
        Ok(())
    };
    sweep().err()
}

/// Ends the processes in a namespace, which nothing else would end, and removes it.
fn remove_stale(name: &str) {
    for id in attempt("ip", &format!("netns pids {name}")).unwrap_or_default().lines() {
        let _ = Command::new("kill").args(["-s", "KILL", id]).output();
    }
    // Another test program may have been faster.
    drop(Namespace { name: name.into() });
}
