//! O2: when nothing is in flight on a connection and both kernels still have it, either both nodes hold it for the one
//! that connects them, or neither does.

use cluster_timeline::record::HostId;

use super::{Broken, Oracle};
use crate::machine::Machine;
use crate::net::{ConnId, Net, Side, Sock};

impl Oracle {
    /// Something has happened on a connection.
    pub(crate) fn agree(&mut self, conn: ConnId, net: &Net, machines: &mut [Machine]) {
        if self.unsettled.contains(&conn) {
            self.compare(conn, net, machines);
        }
    }

    /// The same for every connection that connects two nodes by the account of either.
    pub(crate) fn agree_all(&mut self, net: &Net, machines: &mut [Machine]) {
        let active = self.watches.iter().flatten().flat_map(|watch| watch.links.all_active());
        self.unsettled = active.map(|open| open.sock.conn).collect();
        for conn in self.unsettled.clone() {
            self.compare(conn, net, machines);
        }
    }

    fn compare(&mut self, conn: ConnId, net: &Net, machines: &mut [Machine]) {
        let [Some(dialer), Some(listener)] = [Side::Dialer, Side::Listener].map(|side| net.host_at(conn, side)) else {
            return;
        };
        let quiet = net.is_quiet(conn)
            && [(dialer, Side::Dialer), (listener, Side::Listener)]
                .into_iter()
                .all(|(host, side)| machines[host.index()].has_said_all(net.token(Sock { conn, side })));
        if !quiet {
            return;
        }
        self.unsettled.remove(&conn);
        let holds = |host: HostId, side: Side| {
            let watch = self.watch(host)?;
            Some(watch.links.is_active_on(Sock { conn, side }))
        };
        if let (Some(here), Some(there)) = (holds(dialer, Side::Dialer), holds(listener, Side::Listener))
            && here != there
        {
            let (one, other) = if here { (dialer, listener) } else { (listener, dialer) };
            let text =
                format!("connection {} connects it with {other}, which holds it for none that does", conn.serial);
            self.broken.get_or_insert(Broken { host: one, text });
        }
    }
}
