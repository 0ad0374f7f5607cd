//! How a node ends, and as what it starts again.

use std::net::IpAddr;

use cluster_core::{Config, Incarnation, NodeId, Run};
use serde::{Deserialize, Serialize};

use crate::machine::parse;

/// How a node dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Crash {
    /// The host loses power: nobody is told, and until the host is up again nobody answers. Afterwards its kernel
    /// answers with a reset to whatever belongs to a connection of before.
    Power,
    /// The process is killed and the operating system closes its connections: what was written is still delivered.
    Kill,
    /// The process is killed and every connection is reset.
    Reset,
}

/// What a node is when it starts again. [`Restart::default`]: same id, later incarnation, same config and address.
#[derive(Clone, Debug, Default)]
pub struct Restart {
    pub(crate) id: Id,
    pub(crate) incarnation: Later,
    pub(crate) ip: Option<IpAddr>,
    pub(crate) port: Option<u16>,
    pub(crate) moved: bool,
    pub(crate) config: Option<Config>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Id {
    #[default]
    Same,
    New,
    This(NodeId),
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Later {
    #[default]
    Higher,
    Same,
    This(u64),
    Above(u64),
}

impl Restart {
    /// With an id that it draws itself.
    #[must_use]
    pub fn new_id(mut self) -> Restart {
        self.id = Id::New;
        self
    }

    /// With this id.
    #[must_use]
    pub fn id(mut self, id: NodeId) -> Restart {
        self.id = Id::This(id);
        self
    }

    /// With this incarnation, whatever the one before was.
    #[must_use]
    pub fn incarnation(mut self, incarnation: u64) -> Restart {
        self.incarnation = Later::This(incarnation);
        self
    }

    /// With the incarnation it had.
    #[must_use]
    pub fn same_incarnation(mut self) -> Restart {
        self.incarnation = Later::Same;
        self
    }

    /// As a copy of the node of this run.
    #[must_use]
    pub fn twin(mut self, of: Run, twin: Twin) -> Restart {
        let Incarnation(before) = of.incarnation;
        self.id = Id::This(of.id);
        self.incarnation = match twin {
            Twin::SameRun => Later::This(before),
            Twin::LaterRun => Later::Above(before),
        };
        self
    }

    /// At this address.
    ///
    /// # Panics
    ///
    /// If the text is no IP address.
    #[must_use]
    pub fn ip(mut self, ip: &str) -> Restart {
        self.ip = Some(parse(ip));
        self
    }

    /// At the next address that is free.
    #[must_use]
    pub fn moved(mut self) -> Restart {
        self.moved = true;
        self
    }

    /// At this port.
    #[must_use]
    pub fn port(mut self, port: u16) -> Restart {
        self.port = Some(port);
        self
    }

    /// With this config.
    #[must_use]
    pub fn config(mut self, config: Config) -> Restart {
        self.config = Some(config);
        self
    }
}

/// Which run the node on a host says that it is that has the id of another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Twin {
    /// The very same: a virtual machine that was copied while it ran.
    SameRun,
    /// A later one: a disk that was copied.
    LaterRun,
}
