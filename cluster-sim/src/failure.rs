//! What is told of a run that failed.

use std::fmt;
use std::path::PathBuf;

use crate::schedule::{Schedule, ScheduleError};
use crate::violation::Violation;

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
