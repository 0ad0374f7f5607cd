//! The arguments.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::str::FromStr;

use cluster_core::{Config, Identity, Keyring, NodeId, Secret, Target};
use cluster_host::keys;
use lexopt::prelude::{Long, Short, Value, ValueExt as _};
use zeroize::Zeroizing;

/// What `--help` shows.
pub const HELP: &str = "\
A cluster node for a terminal and for scripts.

Usage: node --listen HOST:PORT --secret-file PATH [OPTIONS]
       node --listen HOST:PORT --insecure-plaintext [OPTIONS]
       node keygen [--secret-file PATH] [--identity PATH]

Options:
  --listen HOST:PORT     Where to listen; with port 0 the system picks one
  --secret-file PATH     The secret of the cluster, in a file that only its
                         owner can read; 'node keygen' makes one
  --secret HEX           The secret itself. Whoever lists the processes of this
                         machine can read it
  --accept-secret-file PATH
                         One more secret to let others in by, while the secret
                         is being changed (up to twice)
  --identity PATH        The key of this node, which keeps its id; it is made if
                         there is no such file
  --allow ID             Only nodes with these ids are let in (repeatable)
  --join HOST:PORT       Join the node there at the start (repeatable)
  --seed HOST:PORT       Stay connected to whoever is there (repeatable)
  --advertise HOST:PORT  Where others can dial this node, if not at --listen
  --name NAME            A label that peers see: A-Z a-z 0-9 . _ -
  --cluster NAME         The cluster to belong to [default: default]
  --insecure-plaintext   No secret, no encryption: whoever reaches the port can
                         join. Only at an address of this machine alone
  --beyond-loopback      --insecure-plaintext at any address
  --json                 One JSON object a line on stdout
  --help                 This text

Commands, one a line on stdin:
  join HOST:PORT         Join the node there
  send PEER TEXT         Send a message; PEER is an id, the beginning of one,
                         or a name
  broadcast TEXT         Send a message to every peer
  peers                  List the peers
  disconnect PEER        Close the connection to a peer, on both sides for good
  stats                  Show the counters
  leave                  Leave the cluster and exit

The end of input keeps the node running. SIGINT, SIGTERM and SIGHUP leave
gracefully; under nohup SIGHUP is ignored.

The process ends within 6 s of the first of these or of 'leave', with a goodbye
to its peers. While nothing reads stdout, the node takes in no more messages
than 1 MiB or 1,024 lines; at the end it drops output that nothing reads, and
stderr tells how many lines. A log that nothing reads is dropped beyond 1 MiB.

Exit codes:
  0     The node has left
  1     It cannot run, or could not leave in time
  2     The arguments are wrong
  129, 130, 143
        A signal (SIGHUP, SIGINT, SIGTERM) ended the process at once: before it
        listened, or when it was leaving already

'node keygen' prints a new secret; with --secret-file it writes it there. With
--identity it writes a new key of a node there, and prints the node's id.
";

/// What a node is to be and to do.
#[derive(Debug)]
#[non_exhaustive]
pub struct Args {
    /// Where to listen.
    pub listen: String,
    /// The settings.
    pub config: Config,
    /// Whom to join at the start.
    pub joins: Vec<Target>,
    /// Whether to report in JSON.
    pub json: bool,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Job {
    /// Show [`HELP`].
    Help,
    Run(Box<Args>),
    Keygen {
        secret: Option<PathBuf>,
        identity: Option<PathBuf>,
    },
}

/// The options that say who is let in.
#[derive(Debug, Default)]
struct Protection {
    secret: Option<Secret>,
    accepted: Vec<Secret>,
    identity: Option<Identity>,
    allowed: Vec<NodeId>,
    insecure: bool,
    beyond_loopback: bool,
}

impl Protection {
    fn config(self) -> Result<Config, String> {
        let config = match self.secret {
            Some(_) if self.insecure => return Err("a secret and --insecure-plaintext exclude each other".into()),
            Some(secret) => Config::new(self.accepted.into_iter().fold(Keyring::new(secret), Keyring::accept)),
            None if self.insecure => Config::insecure_plaintext(),
            None => {
                return Err(
                    "a secret is missing: --secret-file PATH ('node keygen' makes one), or --insecure-plaintext".into(),
                );
            }
        };
        let config = if self.beyond_loopback { config.plaintext_beyond_loopback() } else { config };
        let config = if self.allowed.is_empty() { config } else { config.allow(self.allowed) };
        Ok(match self.identity {
            Some(identity) => config.identity(identity),
            None => config,
        })
    }
}

impl Args {
    /// What the arguments of this process ask for. Looks up the address to advertise, if it is a name.
    ///
    /// # Errors
    ///
    /// What is wrong with them, in words for who gave them.
    pub(crate) fn parse() -> Result<Job, String> {
        let mut parser = lexopt::Parser::from_env();
        if std::env::args_os().nth(1).is_some_and(|first| first == "keygen") {
            return keygen(&mut parser);
        }
        let mut listen = None;
        let mut protection = Protection::default();
        // What does not depend on the protection, which is known at the end.
        let mut settings: Vec<Box<dyn FnOnce(Config) -> Config>> = Vec::new();
        let mut joins = Vec::new();
        let mut json = false;
        while let Some(arg) = parser.next().map_err(|error| error.to_string())? {
            match arg {
                Long("listen") => listen = Some(text(&mut parser)?),
                Long("join") => joins.push(value(&mut parser, "--join")?),
                Long("seed") => {
                    let seed: Target = value(&mut parser, "--seed")?;
                    settings.push(Box::new(|config| config.seed(seed)));
                }
                Long("advertise") => {
                    let addresses = addresses(&value(&mut parser, "--advertise")?)?;
                    settings.push(Box::new(|config| addresses.into_iter().fold(config, Config::advertise)));
                }
                Long("name") => {
                    let name = value(&mut parser, "--name")?;
                    settings.push(Box::new(|config| config.name(name)));
                }
                Long("cluster") => {
                    let cluster = value(&mut parser, "--cluster")?;
                    settings.push(Box::new(|config| config.cluster(cluster)));
                }
                Long("secret") => {
                    // The text itself is nobody's business, not even in an error.
                    let secret = Secret::from_hex(&Zeroizing::new(text(&mut parser)?))
                        .map_err(|error| format!("--secret: {error}"))?;
                    protection.secret = Some(secret);
                }
                Long("secret-file") => protection.secret = Some(key(&mut parser, keys::read_secret)?),
                Long("accept-secret-file") => protection.accepted.push(key(&mut parser, keys::read_secret)?),
                Long("identity") => protection.identity = Some(key(&mut parser, keys::open_identity)?),
                Long("allow") => protection.allowed.push(value(&mut parser, "--allow")?),
                Long("insecure-plaintext") => protection.insecure = true,
                Long("beyond-loopback") => protection.beyond_loopback = true,
                Long("json") => json = true,
                Long("help") | Short('h') => return Ok(Job::Help),
                Value(text) => return Err(format!("unexpected argument {text:?}")),
                other => return Err(other.unexpected().to_string()),
            }
        }
        let listen = listen.ok_or("--listen HOST:PORT is missing")?;
        let config = settings.into_iter().fold(protection.config()?, |config, set| set(config));
        Ok(Job::Run(Box::new(Args { listen, config, joins, json })))
    }
}

fn addresses(target: &Target) -> Result<Vec<SocketAddr>, String> {
    let found = target.as_str().to_socket_addrs().map_err(|error| format!("--advertise {target}: {error}"))?;
    Ok(found.collect())
}

fn keygen(parser: &mut lexopt::Parser) -> Result<Job, String> {
    let (mut secret, mut identity) = (None, None);
    while let Some(arg) = parser.next().map_err(|error| error.to_string())? {
        match arg {
            Value(word) if word == "keygen" => {}
            Long("secret-file") => secret = Some(path(parser)?),
            Long("identity") => identity = Some(path(parser)?),
            Long("help") | Short('h') => return Ok(Job::Help),
            other => return Err(other.unexpected().to_string()),
        }
    }
    Ok(Job::Keygen { secret, identity })
}

fn path(parser: &mut lexopt::Parser) -> Result<PathBuf, String> {
    parser.value().map(PathBuf::from).map_err(|error| error.to_string())
}

/// A key from a file.
fn key<T>(parser: &mut lexopt::Parser, read: impl Fn(PathBuf) -> Result<T, keys::KeyFileError>) -> Result<T, String> {
    read(path(parser)?).map_err(|error| error.to_string())
}

fn text(parser: &mut lexopt::Parser) -> Result<String, String> {
    parser.value().and_then(|value| value.string()).map_err(|error| error.to_string())
}

fn value<T: FromStr<Err: ToString>>(parser: &mut lexopt::Parser, option: &str) -> Result<T, String> {
    let text = text(parser)?;
    text.parse().map_err(|error: T::Err| format!("{option} {text}: {}", error.to_string()))
}
