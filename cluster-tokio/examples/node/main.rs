//! A node for a terminal and for scripts: `cargo run -p cluster-tokio --example node -- --help`.

mod args;
mod command;
mod output;

use std::io::BufRead as _;
use std::process::ExitCode;

use args::Args;
use cluster_tokio::{Config, Event, JoinError, Message, Name, Node, NodeId, Target};
use command::Command;
use output::{Output, Report};
use tokio::sync::mpsc;

#[tokio::main]
async fn main() -> ExitCode {
    let args = match Args::parse() {
        Ok(Some(args)) => args,
        Ok(None) => {
            print!("{}", args::HELP);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("node: {error}\nTry node --help.");
            return ExitCode::from(2);
        }
    };
    // Logs go to stderr, so that stdout has nothing but reports: RUST_LOG=cluster_tokio=debug shows what happens.
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    match run(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("node: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), Box<dyn std::error::Error>> {
    let mut config = Config::insecure_plaintext();
    if let Some(name) = args.name {
        config = config.name(name);
    }
    if let Some(cluster) = args.cluster {
        config = config.cluster(cluster);
    }
    if let Some(address) = &args.advertise {
        for found in tokio::net::lookup_host(address.as_str()).await? {
            config = config.advertise(found);
        }
    }
    for seed in args.seeds {
        config = config.seed(seed);
    }
    let node = Node::bind(args.listen, config).await?;
    let output = Output::new(args.json);
    output.report(Report::Listening { id: node.id(), address: node.local_addr() });

    let mut events = node.events();
    let mut lines = lines();
    let mut input = true;
    let mut stop = std::pin::pin!(stop_signal()?);
    args.joins.into_iter().for_each(|target| join(&node, output, target));
    loop {
        tokio::select! {
            Some(event) = events.next() => on_event(&node, output, event),
            Ok(message) = node.recv() => on_message(&node, output, message),
            line = lines.recv(), if input => match line.as_deref().map(Command::parse) {
                Some(Ok(Some(Command::Leave))) => break,
                Some(Ok(Some(command))) => on_command(&node, output, command),
                Some(Ok(None)) => {}
                Some(Err(error)) => output.error(error),
                // The end of input keeps the node running.
                None => input = false,
            },
            () = &mut stop => break,
        }
    }
    let undelivered = node.leave().await;
    // What came in until the end is still told.
    while let Ok(Some(message)) = node.try_recv() {
        on_message(&node, output, message);
    }
    while let Some(event) = events.next().await {
        on_event(&node, output, event);
    }
    output.report(Report::Left { undelivered });
    Ok(())
}

fn join(node: &Node, output: Output, target: Target) {
    let node = node.clone();
    tokio::spawn(async move {
        if let Err(error) = node.join(&target).await {
            let reason = match &error {
                JoinError::Failed { error, .. } => error.to_string(),
                other => other.to_string(),
            };
            output.report(Report::JoinFailed { address: &target, reason });
        }
    });
}

fn on_event(node: &Node, output: Output, event: Event) {
    match event {
        Event::PeerUp(peer) => output.report(Report::PeerUp(&peer)),
        Event::PeerDown { peer, name, reason } => {
            output.report(Report::PeerDown { id: peer.id, name: name.as_ref(), reason: &reason });
        }
        Event::Undelivered(lost) => {
            for (messages, certainty) in [(&lost.not_delivered, "not_delivered"), (&lost.in_doubt, "in_doubt")] {
                if !messages.is_empty() {
                    output.report(Report::Undelivered { id: lost.peer.id, messages: messages.len(), certainty });
                }
            }
        }
        Event::DuplicateIdentity { newcomer, .. } => {
            output.error(format!("two live nodes use the id {}", newcomer.id));
        }
        Event::Lagged { missed } => {
            output.error(format!("{missed} events were missed; these are the peers now"));
            output.report(Report::Peers(&node.peers()));
        }
        _ => {}
    }
}

fn on_message(node: &Node, output: Output, message: Message) {
    let name = node.peer(message.from.id).and_then(|peer| peer.name);
    let text = String::from_utf8_lossy(&message.payload);
    output.report(Report::Message { from: message.from.id, name: name.as_ref(), text: &text });
}

fn on_command(node: &Node, output: Output, command: Command) {
    let done = match command {
        Command::Join(target) => {
            join(node, output, target);
            Ok(())
        }
        Command::Send(peer, text) => find(node, &peer)
            .and_then(|id| node.try_send(id, text).map_err(|error| format!("cannot send to {peer}: {error}"))),
        Command::Broadcast(text) => broadcast(node, text),
        Command::Peers => {
            output.report(Report::Peers(&node.peers()));
            Ok(())
        }
        Command::Disconnect(peer) => {
            find(node, &peer).and_then(|id| node.disconnect(id).map_err(|error| error.to_string()))
        }
        Command::Stats => {
            output.report(Report::Stats(&node.stats()));
            Ok(())
        }
        // The caller's.
        Command::Leave => Ok(()),
    };
    if let Err(error) = done {
        output.error(error);
    }
}

fn broadcast(node: &Node, text: String) -> Result<(), String> {
    let report = node.broadcast(text).map_err(|error| format!("cannot broadcast: {error}"))?;
    let refused: Vec<_> = report.refused.iter().map(|(id, why)| format!("{id}: {why}")).collect();
    if refused.is_empty() { Ok(()) } else { Err(format!("not sent to {}", refused.join(", "))) }
}

/// The one peer that `text` means: by id, by the beginning of its id, or by name.
fn find(node: &Node, text: &str) -> Result<NodeId, String> {
    let peers = node.peers();
    let prefix = text.to_ascii_lowercase();
    let named = peers.iter().filter(|peer| peer.name.as_ref().map(Name::as_str) == Some(text));
    let with_prefix = peers.iter().filter(|peer| peer.run.id.to_string().starts_with(&prefix));
    let mut found: Vec<NodeId> = named.chain(with_prefix).map(|peer| peer.run.id).collect();
    found.sort_unstable();
    found.dedup();
    match found[..] {
        [id] => Ok(id),
        [] => Err(format!("no peer has the id or name {text}")),
        _ => Err(format!("{} peers match {text}; give more digits of the id", found.len())),
    }
}

/// The lines of stdin. A thread of its own reads them, because a blocked read cannot be cancelled: it would keep the
/// runtime, and so the process, from ending.
fn lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().split(b'\n').map_while(Result::ok) {
            if sender.blocking_send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Completes at the first SIGINT or SIGTERM.
#[cfg(unix)]
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Completes at the first Ctrl-C.
#[cfg(not(unix))]
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}
