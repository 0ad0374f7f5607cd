//! The command line.

use std::str::FromStr;

use cluster_tokio::{Name, Target};
use lexopt::prelude::{Long, Short, Value, ValueExt as _};

pub(crate) const HELP: &str = "\
A cluster node for a terminal and for scripts.

Usage: node --listen HOST:PORT --insecure-plaintext [OPTIONS]

Options:
  --listen HOST:PORT     Where to listen; with port 0 the system picks one
  --join HOST:PORT       Join the node there at the start (repeatable)
  --seed HOST:PORT       Stay connected to whoever is there (repeatable)
  --advertise HOST:PORT  Where others can dial this node, if not at --listen
  --name NAME            A label that peers see: A-Z a-z 0-9 . _ -
  --cluster NAME         The cluster to belong to [default: default]
  --insecure-plaintext   No encryption: whoever reaches the port can join
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

The end of input keeps the node running. SIGINT and SIGTERM leave gracefully.
";

#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) listen: String,
    pub(crate) joins: Vec<Target>,
    pub(crate) seeds: Vec<Target>,
    pub(crate) advertise: Option<Target>,
    pub(crate) name: Option<Name>,
    pub(crate) cluster: Option<Name>,
    pub(crate) json: bool,
}

impl Args {
    /// The arguments of this process; `None` if it is to show [`HELP`].
    pub(crate) fn parse() -> Result<Option<Args>, String> {
        let mut parser = lexopt::Parser::from_env();
        let mut listen = None;
        let mut insecure = false;
        let mut args = Args {
            listen: String::new(),
            joins: Vec::new(),
            seeds: Vec::new(),
            advertise: None,
            name: None,
            cluster: None,
            json: false,
        };
        while let Some(arg) = parser.next().map_err(|error| error.to_string())? {
            match arg {
                Long("listen") => listen = Some(text(&mut parser)?),
                Long("join") => args.joins.push(value(&mut parser, "--join")?),
                Long("seed") => args.seeds.push(value(&mut parser, "--seed")?),
                Long("advertise") => args.advertise = Some(value(&mut parser, "--advertise")?),
                Long("name") => args.name = Some(value(&mut parser, "--name")?),
                Long("cluster") => args.cluster = Some(value(&mut parser, "--cluster")?),
                Long("insecure-plaintext") => insecure = true,
                Long("json") => args.json = true,
                Long("secret" | "secret-file") => {
                    return Err("secrets are not available yet; see --insecure-plaintext".into());
                }
                Long("help") | Short('h') => return Ok(None),
                Value(text) => return Err(format!("unexpected argument {text:?}")),
                other => return Err(other.unexpected().to_string()),
            }
        }
        args.listen = listen.ok_or("--listen HOST:PORT is missing")?;
        if !insecure {
            return Err("say --insecure-plaintext if nobody hostile can reach the port".into());
        }
        Ok(Some(args))
    }
}

fn text(parser: &mut lexopt::Parser) -> Result<String, String> {
    parser.value().and_then(|value| value.string()).map_err(|error| error.to_string())
}

fn value<T: FromStr<Err: ToString>>(parser: &mut lexopt::Parser, option: &str) -> Result<T, String> {
    let text = text(parser)?;
    text.parse().map_err(|error: T::Err| format!("{option} {text}: {}", error.to_string()))
}
