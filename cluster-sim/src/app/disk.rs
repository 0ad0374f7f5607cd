//! What an application keeps when its process ends.

use std::collections::BTreeMap;

/// The disk of a host: bytes under names, which outlive the processes. What is written is there at once and for good, in
/// whatever way the host then crashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    files: BTreeMap<String, Vec<u8>>,
}

impl Disk {
    /// What is kept under a name.
    #[must_use]
    pub fn read(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name).map(Vec::as_slice)
    }

    /// The number that [`write_u64`](Disk::write_u64) has kept under a name.
    #[must_use]
    pub fn read_u64(&self, name: &str) -> Option<u64> {
        self.read(name).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes)
    }

    /// Keeps bytes under a name, instead of what was there.
    pub fn write(&mut self, name: &str, bytes: impl Into<Vec<u8>>) {
        self.files.insert(name.to_owned(), bytes.into());
    }

    /// Keeps a number under a name, instead of what was there.
    pub fn write_u64(&mut self, name: &str, number: u64) {
        self.write(name, number.to_be_bytes());
    }

    /// Removes what is kept under a name. Says whether there was anything.
    pub fn remove(&mut self, name: &str) -> bool {
        self.files.remove(name).is_some()
    }

    /// Every name, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_keeps_what_was_written_last() {
        let mut disk = Disk::default();
        disk.write("b", *b"one");
        disk.write("b", *b"two");
        disk.write_u64("a", 7);
        assert_eq!((disk.read("b"), disk.read_u64("a")), (Some(&b"two"[..]), Some(7)));
        assert_eq!((disk.read("c"), disk.read_u64("b")), (None, None));
        assert_eq!(disk.names().collect::<Vec<_>>(), ["a", "b"]);
        assert!(disk.remove("a") && !disk.remove("a"));
    }
}
