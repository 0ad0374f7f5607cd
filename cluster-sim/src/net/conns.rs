//! The connections there are. What is over takes no room: its place is used again, under another name.

use std::ops::{Index, IndexMut};

use crate::socket::ConnId;

#[derive(Debug)]
pub(super) struct Conns<T> {
    places: Vec<Option<(ConnId, Box<T>)>>,
    free: Vec<u32>,
    made: u32,
}

impl<T> Default for Conns<T> {
    fn default() -> Conns<T> {
        Conns { places: Vec::new(), free: Vec::new(), made: 0 }
    }
}

impl<T> Conns<T> {
    pub(super) fn insert(&mut self, conn: T) -> ConnId {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() as u32 - 1
        });
        let id = ConnId { serial: self.made, place };
        self.made = self.made.wrapping_add(1);
        self.places[place as usize] = Some((id, Box::new(conn)));
        id
    }

    pub(super) fn get(&self, id: ConnId) -> Option<&T> {
        self.places[id.place as usize].as_ref().filter(|(found, _)| *found == id).map(|(_, conn)| &**conn)
    }

    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut T> {
        self.places[id.place as usize].as_mut().filter(|(found, _)| *found == id).map(|(_, conn)| &mut **conn)
    }

    pub(super) fn remove(&mut self, id: ConnId) {
        if self.get(id).is_some() {
            self.places[id.place as usize] = None;
            self.free.push(id.place);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.places.iter().flatten().map(|(_, conn)| &**conn)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}

/// For connections that cannot be over: an end of them is still held.
impl<T> Index<ConnId> for Conns<T> {
    type Output = T;

    fn index(&self, id: ConnId) -> &T {
        match self.get(id) {
            Some(conn) => conn,
            None => panic!("the connection {id:?} is over"),
        }
    }
}

impl<T> IndexMut<ConnId> for Conns<T> {
    fn index_mut(&mut self, id: ConnId) -> &mut T {
        match self.get_mut(id) {
            Some(conn) => conn,
            None => panic!("the connection {id:?} is over"),
        }
    }
}
