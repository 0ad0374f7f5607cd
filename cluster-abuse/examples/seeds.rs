//! Writes the first inputs of the fuzz targets: `cargo run -p cluster-abuse --example seeds`, in the repository.

use std::io;
use std::path::Path;

fn main() -> io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let golden = golden(&root.join("cluster-core/tests/golden"))?;
    for target in cluster_abuse::TARGETS {
        let folder = root.join("fuzz/corpus").join(target.name);
        std::fs::create_dir_all(&folder)?;
        for (name, bytes) in cluster_abuse::seeds::of(target.name, &golden) {
            std::fs::write(folder.join(format!("seed_{name}")), bytes)?;
        }
    }
    Ok(())
}

/// The golden files: hexadecimal digits, and comments from `#` to the end of the line.
fn golden(folder: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let text = std::fs::read_to_string(&path)?;
        let digits: Vec<u8> = text
            .lines()
            .flat_map(|line| line.split('#').next().unwrap_or_default().chars())
            .filter_map(|digit| digit.to_digit(16).map(|digit| digit as u8))
            .collect();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        files.push((name, digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect()));
    }
    files.sort();
    Ok(files)
}
