//! Secrets and identities in files, and the randomness, incarnation and cipher that a node takes from its system.
//!
//! A key file has 64 hexadecimal digits in one line. Only its owner may read it, and a file that others could read is
//! refused.
//!
//! ```
//! use cluster_core::Config;
//! use cluster_host::keys;
//!
//! # let directory = std::env::temp_dir().join(format!("keys-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&directory)?;
//! let (secret, identity) = (directory.join("cluster.secret"), directory.join("node.key"));
//! # let _ = (std::fs::remove_file(&secret), std::fs::remove_file(&identity));
//! keys::write_secret(&secret, &keys::generate_secret()?)?; // once, then the file is brought to every node
//!
//! let config = Config::new(keys::read_secret(&secret)?).identity(keys::open_identity(&identity)?);
//! # std::fs::remove_dir_all(&directory)?;
//! # drop(config);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use std::{error, fmt};

use cluster_core::{Identity, Incarnation, ParseKeyError, Secret, Start, Suite};
use zeroize::Zeroizing;

/// The most bytes of a key file that are read.
const LONGEST: u64 = 256;

/// Makes a new secret.
///
/// # Errors
///
/// The operating system gives no randomness.
pub fn generate_secret() -> io::Result<Secret> {
    drawn().map(|bytes| Secret::from_bytes(*bytes))
}

/// Makes a new identity.
///
/// # Errors
///
/// The operating system gives no randomness.
pub fn generate_identity() -> io::Result<Identity> {
    drawn().map(|bytes| Identity::from_bytes(*bytes))
}

/// Reads a secret from a file.
///
/// # Errors
///
/// [`KeyFileError`] if the file cannot be read, others could read it as well, or it holds no key.
pub fn read_secret(path: impl AsRef<Path>) -> Result<Secret, KeyFileError> {
    read(path.as_ref(), Secret::from_hex)
}

/// Writes a secret to a new file that only its owner can read.
///
/// # Errors
///
/// [`KeyFileError`] if there is a file already, which is left as it is, or the new one cannot be written.
pub fn write_secret(path: impl AsRef<Path>, secret: &Secret) -> Result<(), KeyFileError> {
    write(path.as_ref(), secret.reveal())
}

/// Reads an identity from a file.
///
/// # Errors
///
/// [`KeyFileError`] if the file cannot be read, others could read it as well, or it holds no key.
pub fn read_identity(path: impl AsRef<Path>) -> Result<Identity, KeyFileError> {
    read(path.as_ref(), Identity::from_hex)
}

/// Writes an identity to a new file that only its owner can read.
///
/// # Errors
///
/// [`KeyFileError`] if there is a file already, which is left as it is, or the new one cannot be written.
pub fn write_identity(path: impl AsRef<Path>, identity: &Identity) -> Result<(), KeyFileError> {
    write(path.as_ref(), identity.reveal())
}

/// Reads an identity from a file. Without a file, makes a new identity and writes it there.
///
/// # Errors
///
/// [`KeyFileError`] as of [`read_identity`] and [`write_identity`].
pub fn open_identity(path: impl AsRef<Path>) -> Result<Identity, KeyFileError> {
    let path = path.as_ref();
    match read_identity(path) {
        Err(error) if error.is_missing() => {
            let identity = generate_identity().map_err(|error| KeyFileError::new(path, Kind::Io(error)))?;
            write_identity(path, &identity)?;
            Ok(identity)
        }
        outcome => outcome,
    }
}

fn read<T>(path: &Path, parse: impl Fn(&str) -> Result<T, ParseKeyError>) -> Result<T, KeyFileError> {
    let failed = |kind| KeyFileError::new(path, kind);
    let file = File::open(path).map_err(|error| failed(Kind::Io(error)))?;
    if is_exposed(&file).map_err(|error| failed(Kind::Io(error)))? {
        return Err(failed(Kind::Exposed));
    }
    // With twice the room the text is never moved, so that wiping it leaves no copy.
    let mut text = Zeroizing::new(String::with_capacity(2 * LONGEST as usize));
    file.take(LONGEST).read_to_string(&mut text).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => failed(Kind::NoKey),
        _ => failed(Kind::Io(error)),
    })?;
    parse(text.trim()).map_err(|_| failed(Kind::NoKey))
}

fn write(path: &Path, key: impl fmt::Display) -> Result<(), KeyFileError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut text = Zeroizing::new(String::with_capacity(LONGEST as usize));
    // Writing to a string does not fail.
    let _ = writeln!(text, "{key}");
    let written = create(path, &options, |file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| KeyFileError::new(path, Kind::Io(error)))
}

/// Fills a new file. If that fails, removes the file: half a key is useless, and would be in the way of the next
/// attempt.
fn create(path: &Path, options: &OpenOptions, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut file = options.open(path)?;
    fill(&mut file).inspect_err(|_| {
        // Where an open file cannot be removed it is closed first.
        drop(file);
        // The first failure is the one to report.
        let _ = std::fs::remove_file(path);
    })
}

/// Returns whether others than the owner may read the file.
#[cfg(unix)]
fn is_exposed(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(file.metadata()?.permissions().mode() & 0o077 != 0)
}

/// Permissions are not checked here.
#[cfg(not(unix))]
fn is_exposed(_: &File) -> io::Result<bool> {
    Ok(false)
}

/// A key could not be read from a file, or written to one. The error never shows what the file holds.
#[derive(Debug)]
pub struct KeyFileError {
    path: PathBuf,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Io(io::Error),
    Exposed,
    NoKey,
}

impl KeyFileError {
    fn new(path: &Path, kind: Kind) -> KeyFileError {
        KeyFileError { path: path.to_owned(), kind }
    }

    /// Returns whether there is no such file.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(&self.kind, Kind::Io(error) if error.kind() == io::ErrorKind::NotFound)
    }

    /// Returns whether others than the owner could read the file.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        matches!(self.kind, Kind::Exposed)
    }
}

impl fmt::Display for KeyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.path.display())?;
        match &self.kind {
            Kind::Io(error) => error.fmt(f),
            Kind::Exposed => f.write_str("key file is readable by others (expected mode 600)"),
            Kind::NoKey => f.write_str("no key of 64 hexadecimal digits in the file"),
        }
    }
}

impl error::Error for KeyFileError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match &self.kind {
            Kind::Io(error) => Some(error),
            Kind::Exposed | Kind::NoKey => None,
        }
    }
}

/// Returns the cipher that is fastest on this machine. AES is implemented without tables, so that no secret shows in the
/// timing of memory; without the processor's instructions that is slow.
#[must_use]
pub fn suite() -> Suite {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    if std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq") {
        return Suite::AesGcm;
    }
    Suite::ChaChaPoly
}

/// Draws 32 random bytes: a key, or the seed of all randomness of a node. The caller should wipe them.
///
/// # Errors
///
/// The operating system gives no randomness.
pub fn entropy() -> io::Result<[u8; 32]> {
    drawn().map(|bytes| *bytes)
}

/// Draws 32 random bytes that are wiped when they are dropped.
fn drawn() -> io::Result<Zeroizing<[u8; 32]>> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

/// Makes what a node that listens at this address starts with: randomness, and as its incarnation the wall clock in
/// microseconds, or one more than the last incarnation in this process.
///
/// # Errors
///
/// The operating system gives no randomness.
pub fn start(listen: SocketAddr) -> io::Result<Start> {
    Ok(Start { seed: *drawn()?, incarnation: incarnation(), listen: Some(listen) })
}

fn incarnation() -> Incarnation {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    let wall = u64::try_from(wall).unwrap_or(u64::MAX);
    let later = |last: u64| wall.max(last.saturating_add(1));
    let last = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(later(last)));
    Incarnation(later(last.unwrap_or_else(|last| last)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incarnations_rise_strictly() {
        let address = SocketAddr::from(([127, 0, 0, 1], 7_000));
        let starts: Vec<_> = (0..1_000).map(|_| start(address).unwrap()).collect();
        assert!(starts.windows(2).all(|pair| pair[0].incarnation < pair[1].incarnation));
        assert!(starts.windows(2).all(|pair| pair[0].seed != pair[1].seed));
        // A seed is wiped with what it came in.
        assert!(std::mem::needs_drop::<Start>());
    }

    /// A directory of its own for each test.
    fn directory(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("cluster-host-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        directory
    }

    #[test]
    fn key_is_the_same_when_read_again_and_no_file_is_overwritten() {
        let directory = directory("same");
        let secret = generate_secret().unwrap();
        let path = directory.join("secret");
        write_secret(&path, &secret).unwrap();
        assert!(write_secret(&path, &generate_secret().unwrap()).is_err());
        assert_eq!(read_secret(&path).unwrap(), secret);
        let path = directory.join("identity");
        assert!(read_identity(&path).unwrap_err().is_missing());
        let made = open_identity(&path).unwrap();
        assert_eq!(open_identity(&path).unwrap().id(), made.id());
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn failed_write_leaves_no_new_file_and_keeps_an_existing_one() {
        let directory = directory("full");
        let path = directory.join("secret");
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        let failed = create(&path, &options, |file| {
            file.write_all(b"0123")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(!path.exists());
        let secret = generate_secret().unwrap();
        write_secret(&path, &secret).unwrap();
        let exists = create(&path, &options, |_| unreachable!("there is a file already"));
        assert_eq!(exists.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(read_secret(&path).unwrap(), secret);
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn key_file_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = directory("mode");
        let path = directory.join("secret");
        write_secret(&path, &generate_secret().unwrap()).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        for mode in [0o640, 0o604, 0o620] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert!(read_secret(&path).unwrap_err().is_exposed());
        }
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn error_about_a_file_without_a_key_does_not_show_it() {
        let directory = directory("bad");
        let path = directory.join("secret");
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&path).unwrap().write_all(b"hunter2\n").unwrap();
        let error = read_secret(&path).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
        std::fs::remove_dir_all(directory).unwrap();
    }
}
