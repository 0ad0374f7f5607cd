//! The connections there are. What is over takes no room: its place is used again, under another name.

use std::ops::{Index, IndexMut};

use super::Conn;

/// One connection, ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ConnId {
    /// Counts the connections: no two have the same.
    pub(crate) serial: u32,
    place: u32,
}

#[cfg(test)]
impl ConnId {
    pub(crate) fn nth(serial: u32) -> ConnId {
        ConnId { serial, place: serial }
    }
}

#[derive(Debug, Default)]
pub(super) struct Conns {
    places: Vec<Option<(ConnId, Box<Conn>)>>,
    free: Vec<u32>,
    made: u32,
}

impl Conns {
    pub(super) fn insert(&mut self, conn: Conn) -> ConnId {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() as u32 - 1
        });
        let id = ConnId { serial: self.made, place };
        self.made = self.made.wrapping_add(1);
        self.places[place as usize] = Some((id, Box::new(conn)));
        id
    }

    pub(super) fn get(&self, id: ConnId) -> Option<&Conn> {
        self.places[id.place as usize].as_ref().filter(|(found, _)| *found == id).map(|(_, conn)| &**conn)
    }

    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.places[id.place as usize].as_mut().filter(|(found, _)| *found == id).map(|(_, conn)| &mut **conn)
    }

    pub(super) fn remove(&mut self, id: ConnId) {
        if self.get(id).is_some() {
            self.places[id.place as usize] = None;
            self.free.push(id.place);
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}

/// For connections that cannot be over: an end of them is still held.
impl Index<ConnId> for Conns {
    type Output = Conn;

    fn index(&self, id: ConnId) -> &Conn {
        match self.get(id) {
            Some(conn) => conn,
            None => panic!("the connection {id:?} is over"),
        }
    }
}

impl IndexMut<ConnId> for Conns {
    fn index_mut(&mut self, id: ConnId) -> &mut Conn {
        match self.get_mut(id) {
            Some(conn) => conn,
            None => panic!("the connection {id:?} is over"),
        }
    }
}
