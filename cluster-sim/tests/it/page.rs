//! The page of a timeline in a browser: no script fails, every lane is drawn, the search and a click work.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::timeline::eventful;

/// Installed before the scripts of the page, which a later handler would miss. A headless browser paints when it likes, and
/// on a busy machine after its virtual time is over: here the page draws by timers, which are part of that time.
const BEFORE: &str = "<script>const errors = []; addEventListener('error', (event) => errors.push(event.message)); \
    addEventListener('unhandledrejection', (event) => errors.push(String(event.reason))); \
    requestAnimationFrame = (draw) => setTimeout(draw, 16);</script>\n";

const READER: &str = include_str!("page.js");

/// A browser that takes longer hangs.
const PATIENCE: u64 = 60;

#[test]
fn page_works_in_a_browser() {
    let Some(browser) = browser() else {
        println!("skipped: there is no Chromium to open the page with");
        return;
    };
    let page = eventful(4, true).timeline().to_html();
    let data = page.find("<script type=\"application/json\"").expect("the page has data");
    let end = page.rfind("</body>").expect("the page has a body");
    let page = [&page[..data], BEFORE, &page[data..end], "<script>\n", READER, "</script>\n", &page[end..]].concat();

    let folder = std::env::temp_dir().join(format!("cluster-sim-page-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let dom = open(&browser, &folder, &page).unwrap();
    // A process of the browser may outlive it, and write its profile meanwhile.
    let _ = fs::remove_dir_all(&folder);

    let report = dom.split_once("<pre id=\"report\">").and_then(|(_, rest)| rest.split_once("</pre>"));
    let report = report.unwrap_or_else(|| panic!("the reader has written nothing:\n{dom:.2000}")).0;
    let line = |name: &str| {
        let start = format!("{name}: ");
        report.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or_else(|| panic!("no {name}:\n{report}"))
    };
    assert_eq!(line("errors"), "", "{report}");
    assert_eq!(line("lanes"), "n0 n1 n2 n3", "{report}");
    assert!(line("story").parse::<u32>().is_ok_and(|moments| moments > 5), "{report}");
    assert!(line("found").parse::<u32>().is_ok_and(|found| found >= 3), "{report}");
    assert!(line("match").contains("is down") && line("match").contains("event"), "{report}");
    assert!(line("details").contains("n0: running") && line("details").contains("10.0.0.1:7000"), "{report}");
}

fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    std::env::split_paths(&path).flat_map(|folder| names.map(|name| folder.join(name))).find(|file| file.is_file())
}

/// Opens a page, lets five seconds of the browser's virtual time pass, and returns the document as it is then.
fn open(browser: &Path, folder: &Path, page: &str) -> io::Result<String> {
    let (file, dom, log) = (folder.join("page.html"), folder.join("dom.html"), folder.join("log.txt"));
    fs::write(&file, page)?;
    let mut child = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
        .args(["--hide-scrollbars", "--window-size=1280,900", "--virtual-time-budget=5000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .arg(format!("file://{}", file.display()))
        .stdin(Stdio::null())
        .stdout(File::create(&dom)?)
        .stderr(File::create(&log)?)
        .spawn()?;
    let started = Instant::now();
    while child.try_wait()?.is_none() {
        if started.elapsed().as_secs() >= PATIENCE {
            child.kill()?;
            child.wait()?;
            let said = fs::read_to_string(&log)?;
            return Err(io::Error::other(format!("{} hangs:\n{said}", browser.display())));
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    fs::read_to_string(&dom)
}
