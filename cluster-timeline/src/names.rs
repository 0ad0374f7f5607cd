//! Which host a node id belongs to, and what a run is called.

use std::collections::BTreeMap;

use cluster_core::{NodeId, Run};

use crate::record::HostId;

/// Every id and run that has been seen on a host.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    ids: BTreeMap<NodeId, HostId>,
    /// With the number of the run on its host, 1 for the first.
    runs: BTreeMap<Run, u32>,
    /// The latest run of each host, and how many there were.
    latest: BTreeMap<HostId, (Run, u32)>,
}

impl Names {
    /// A run that was seen on a host. An id belongs to the host that had it first.
    pub(crate) fn add(&mut self, host: HostId, run: Run) {
        if self.runs.contains_key(&run) {
            return;
        }
        self.ids.entry(run.id).or_insert(host);
        let count = self.latest.get(&host).map_or(1, |(_, count)| count + 1);
        self.latest.insert(host, (run, count));
        self.runs.insert(run, count);
    }

    /// The id of the latest run of a host.
    pub(crate) fn id(&self, host: HostId) -> Option<NodeId> {
        self.latest.get(&host).map(|(run, _)| run.id)
    }

    pub(crate) fn host(&self, id: NodeId) -> Option<HostId> {
        self.ids.get(&id).copied()
    }

    /// `n1` for the first run of a host, `n1 (run 2)` for the second; the id of a node of no host.
    pub(crate) fn run(&self, run: Run) -> String {
        match (self.host(run.id), self.runs.get(&run)) {
            (Some(host), Some(1)) => host.to_string(),
            (Some(host), Some(count)) => format!("{host} (run {count})"),
            (Some(host), None) => format!("{host} (run {})", run.incarnation),
            (None, _) => format!("{run:?}"),
        }
    }

    /// The text with every id in it, long or short, replaced by the name of its host.
    pub(crate) fn replace(&self, text: &str) -> String {
        let mut replaced = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find(|c: char| c.is_ascii_alphanumeric()) {
            let (before, word) = rest.split_at(start);
            let end = word.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(word.len());
            let (word, after) = word.split_at(end);
            replaced.push_str(before);
            match self.word(word) {
                Some(host) => replaced.push_str(&host.to_string()),
                None => replaced.push_str(word),
            }
            rest = after;
        }
        replaced.push_str(rest);
        replaced
    }

    /// The host whose id this word is, or begins.
    fn word(&self, word: &str) -> Option<HostId> {
        match word.len() {
            32 => self.host(word.parse().ok()?),
            8 => {
                let first: NodeId = format!("{word}{:024}", 0).parse().ok()?;
                let (id, host) = self.ids.range(first..).next()?;
                (id.as_bytes()[..4] == first.as_bytes()[..4]).then_some(*host)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_core::Incarnation;

    #[test]
    fn ids_in_a_text_become_the_names_of_hosts() {
        let id = NodeId::from_bytes(*b"\xab\xcd\xef\x01 twelve more");
        let run = |incarnation| Run { id, incarnation: Incarnation(incarnation) };
        let mut names = Names::default();
        names.add(HostId(3), run(10));
        names.add(HostId(3), run(20));
        assert_eq!((names.run(run(10)), names.run(run(20))), ("n3".to_owned(), "n3 (run 2)".to_owned()));
        let text = format!("disconnect {id:?}, {id} (é) but not abcdef02 or abcdef01x");
        assert_eq!(names.replace(&text), "disconnect n3, n3 (é) but not abcdef02 or abcdef01x");
    }
}
