//! A list that keeps the newest entries and counts those it let go.

use std::collections::VecDeque;

/// At most `cap` entries. Each has a number, 0 for the first one ever pushed, by which it can be changed later.
#[derive(Clone, Debug)]
pub(crate) struct Newest<T> {
    entries: VecDeque<T>,
    cap: usize,
    dropped: u64,
}

impl<T> Newest<T> {
    pub(crate) fn new(cap: usize) -> Newest<T> {
        Newest { entries: VecDeque::new(), cap, dropped: 0 }
    }

    /// Adds an entry and returns its number. The oldest goes if there is no room.
    pub(crate) fn push(&mut self, entry: T) -> u64 {
        if self.entries.len() == self.cap {
            self.entries.pop_front();
            self.dropped += 1;
        }
        self.entries.push_back(entry);
        self.dropped + self.entries.len() as u64 - 1
    }

    /// The entry with this number, unless it was let go.
    pub(crate) fn at_mut(&mut self, number: u64) -> Option<&mut T> {
        let index = usize::try_from(number.checked_sub(self.dropped)?).ok()?;
        self.entries.get_mut(index)
    }

    /// How many entries were let go.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first_and_numbers_stay() {
        let mut list = Newest::new(2);
        let numbers: Vec<u64> = ["a", "b", "c"].into_iter().map(|entry| list.push(entry)).collect();
        assert_eq!(numbers, [0, 1, 2]);
        assert_eq!(list.dropped(), 1);
        assert_eq!(list.at_mut(0), None);
        *list.at_mut(2).unwrap() = "d";
        assert_eq!(list.iter().copied().collect::<Vec<_>>(), ["b", "d"]);
        assert_eq!(list.at_mut(3), None);
    }
}
