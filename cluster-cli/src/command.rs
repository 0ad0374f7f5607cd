//! The commands that are read from stdin.

use cluster_core::Target;

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Join(Target),
    Send(String, String),
    Broadcast(String),
    Peers,
    Disconnect(String),
    Stats,
    Leave,
}

impl Command {
    /// The command of a line, or `None` if the line is empty.
    pub(crate) fn parse(line: &str) -> Result<Option<Command>, String> {
        // Only the line's end is taken off: spaces at the end of a text belong to it.
        let line = line.trim_start().trim_end_matches(['\r', '\n']);
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let word = |what: &str| match rest.trim() {
            "" => Err(format!("{verb} needs {what}")),
            word if word.contains(char::is_whitespace) => Err(format!("{verb} takes only {what}")),
            word => Ok(word.to_owned()),
        };
        let alone = |command| if rest.trim().is_empty() { Ok(command) } else { Err(format!("{verb} stands alone")) };
        let command = match verb.trim_end() {
            "" => return Ok(None),
            "join" => {
                let address = word("HOST:PORT")?;
                Command::Join(address.parse().map_err(|error| format!("join {address}: {error}"))?)
            }
            "send" => match rest.trim_start().split_once(' ') {
                Some((peer, text)) if !text.is_empty() => Command::Send(peer.into(), text.into()),
                _ => return Err("send needs PEER and TEXT".into()),
            },
            "broadcast" if rest.is_empty() => return Err("broadcast needs TEXT".into()),
            "broadcast" => Command::Broadcast(rest.into()),
            "peers" => alone(Command::Peers)?,
            "disconnect" => Command::Disconnect(word("PEER")?),
            "stats" => alone(Command::Stats)?,
            "leave" => alone(Command::Leave)?,
            _ => {
                let known = "join, send, broadcast, peers, disconnect, stats, leave";
                return Err(format!("unknown command {verb:?}; the commands are {known}"));
            }
        };
        Ok(Some(command))
    }
}
