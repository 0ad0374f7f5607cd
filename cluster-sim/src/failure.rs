//! What is told of a run that failed.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use cluster_timeline::Timeline;

use crate::builder::{Attempt, Builder};
use crate::schedule::{Schedule, ScheduleError, Tried, shrink, test_of_builder};
use crate::violation::Violation;
use crate::world::shown_lines;

/// Why a run failed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Cause {
    /// A promise was broken in the world, an invariant did not hold, or the core did not converge.
    Violation(Violation),
    /// An application, a closure of the user's or a node panicked: with its words and the place.
    Panic(String),
    /// The same schedule did not run twice in the same way: something in it depends on more than the seed.
    NotRepeatable {
        /// The hash of the first run, if it ended well.
        first: Option<u64>,
        /// The hash of the second.
        second: Option<u64>,
    },
    /// There was nothing to run.
    Impossible(ScheduleError),
}

impl Cause {
    /// The symptom, without the numbers and ids, which differ from run to run.
    pub(crate) fn symptom(&self) -> String {
        let text = match self {
            Cause::Violation(violation) => &violation.text,
            Cause::Panic(text) => text,
            Cause::NotRepeatable { .. } | Cause::Impossible(_) => return self.to_string(),
        };
        let word =
            |word: &str| if word.contains(|c: char| c.is_ascii_digit()) { "#".to_owned() } else { word.to_owned() };
        text.split(|c: char| !c.is_ascii_alphanumeric()).map(word).collect::<Vec<_>>().join(" ")
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Violation(violation) => violation.fmt(f),
            Cause::Panic(text) => f.write_str(text),
            Cause::NotRepeatable { first, second } => {
                write!(f, "the same schedule ran in two ways: {} and then {}", Outcome(*first), Outcome(*second))
            }
            Cause::Impossible(error) => error.fmt(f),
        }
    }
}

/// How a run ended.
struct Outcome(Option<u64>);

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(hash) => write!(f, "well with hash {hash:#x}"),
            None => f.write_str("badly"),
        }
    }
}

/// A run that failed, with everything needed to run it again.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What is wrong, as it shows in the minimal schedule.
    pub cause: Cause,
    /// The schedule that was run.
    pub found: Schedule,
    /// The shortest schedule known that shows the same.
    pub schedule: Schedule,
    /// How many runs it took to find that.
    pub runs: u32,
    /// A Rust test that does what the minimal schedule says.
    pub test: String,
    /// Where the minimal schedule was written, or why that was not possible.
    pub file: Result<PathBuf, String>,
    /// Where the timeline of the minimal schedule was written, a page that needs nothing else, or why that was not
    /// possible.
    pub timeline: Result<PathBuf, String>,
}

impl Failure {
    pub(crate) fn impossible(builder: &Builder, error: ScheduleError) -> Box<Failure> {
        Failure::plain(builder.template().clone(), Cause::Impossible(error))
    }

    /// A failure of which there is nothing to explain.
    pub(crate) fn plain(schedule: Schedule, cause: Cause) -> Box<Failure> {
        let file = Err("it was not written".to_owned());
        let (seed, found) = (schedule.seed, schedule.clone());
        Box::new(Failure {
            seed,
            cause,
            found,
            schedule,
            runs: 0,
            test: String::new(),
            file: file.clone(),
            timeline: file,
        })
    }

    /// Why a schedule fails, with the trace: it runs once more for that.
    pub(crate) fn with_trace(builder: &Builder, schedule: &Schedule, cause: Cause) -> Cause {
        builder.attempt_with(schedule, shown_lines()).result.err().unwrap_or(cause)
    }

    /// Finds the shortest schedule that shows the same, and writes it and its timeline to files.
    pub(crate) fn explain(builder: &Builder, found: Schedule, cause: Cause) -> Box<Failure> {
        if let Cause::Impossible(_) = cause {
            return Failure::plain(found, cause);
        }
        let symptom = cause.symptom();
        let (schedule, runs) = shrink(&found, |schedule| {
            let Attempt { result, end, steps } = builder.attempt_with(schedule, 0);
            let fails = result.is_err_and(|cause| cause.symptom() == symptom);
            Tried { failed: fails.then_some(end), steps }
        });
        let cause = Failure::with_trace(builder, &schedule, cause);
        let test = if builder.is_plain() { schedule.to_test() } else { test_of_builder(&schedule) };
        let file = keep(&schedule, "json", |path| std::fs::write(path, schedule.to_json()));
        let timeline = timeline_of(builder, &schedule)
            .and_then(|timeline| keep(&schedule, "html", |path| timeline.write_html(path)));
        Box::new(Failure { seed: found.seed, cause, found, schedule, runs: runs + 1, test, file, timeline })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} fails: {}", self.seed, self.cause)?;
        if self.test.is_empty() {
            return Ok(());
        }
        let (left, of) = (self.schedule.steps.len(), self.found.steps.len());
        writeln!(f, "\nThe shortest schedule found has {left} of {of} steps ({} runs):\n", self.runs)?;
        for step in &self.schedule.steps {
            writeln!(f, "  {:>14?}  {:?}", step.at, step.op)?;
        }
        writeln!(f, "\nA test that does the same:\n\n{}", self.test)?;
        match &self.file {
            Ok(path) => writeln!(f, "The schedule is in {}", path.display())?,
            Err(error) => writeln!(f, "The schedule could not be kept: {error}")?,
        }
        match &self.timeline {
            Ok(path) => writeln!(f, "The timeline is in {}", path.display()),
            Err(error) => writeln!(f, "The timeline could not be kept: {error}"),
        }
    }
}

impl std::error::Error for Failure {}

/// What happens in the minimal schedule. It runs once more, for that.
fn timeline_of(builder: &Builder, schedule: &Schedule) -> Result<Timeline, String> {
    let told = builder.clone().schedule(schedule.clone()).timeline();
    told.map(|(_, timeline)| timeline).map_err(|error| error.to_string())
}

/// Keeps something of a schedule where the next run of the same seed overwrites it: in the directory that the environment
/// variable `CLUSTER_SIM_DIR` names, or `cluster-sim` below that for temporary files.
fn keep(schedule: &Schedule, ending: &str, write: impl FnOnce(&Path) -> io::Result<()>) -> Result<PathBuf, String> {
    let named = std::env::var_os("CLUSTER_SIM_DIR").map(PathBuf::from);
    let directory = named.unwrap_or_else(|| std::env::temp_dir().join("cluster-sim"));
    let path = directory.join(format!("seed-{}.{ending}", schedule.seed));
    let written = std::fs::create_dir_all(&directory).and_then(|()| write(&path));
    written.map(|()| path.clone()).map_err(|error| format!("{}: {error}", path.display()))
}
