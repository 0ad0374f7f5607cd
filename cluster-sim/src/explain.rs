//! A run that failed, explained: the shortest schedule that shows the same, a test, a timeline.

use std::io;
use std::path::{Path, PathBuf};

use cluster_timeline::Timeline;

use crate::builder::{Attempt, Builder, Summary};
use crate::failure::{Cause, Failure};
use crate::schedule::{Schedule, ScheduleError, Tried, shrink, test_of_builder};
use crate::world::shown_lines;

impl Builder {
    /// Runs the schedule.
    ///
    /// # Errors
    ///
    /// If anything is wrong in it: with the shortest schedule that shows the same, which takes some hundred runs to
    /// find.
    pub fn run(&self) -> Result<Summary, Box<Failure>> {
        let schedule = self.plan().map_err(|error| self.impossible(error))?;
        self.attempt(&schedule).map_err(|cause| self.explain(schedule, cause))
    }

    /// Nothing could be run.
    pub(crate) fn impossible(&self, error: ScheduleError) -> Box<Failure> {
        Failure::plain(self.template().clone(), Cause::Impossible(error))
    }

    /// Why a schedule fails, with the trace: it runs once more for that.
    pub(crate) fn with_trace(&self, schedule: &Schedule, cause: Cause) -> Cause {
        self.attempt_with(schedule, shown_lines()).result.err().unwrap_or(cause)
    }

    /// Finds the shortest schedule that shows the same, and writes it and its timeline to files.
    pub(crate) fn explain(&self, found: Schedule, cause: Cause) -> Box<Failure> {
        if let Cause::Impossible(_) = cause {
            return Failure::plain(found, cause);
        }
        let symptom = cause.symptom();
        let (schedule, runs) = shrink(&found, |schedule| {
            let Attempt { result, end, steps } = self.attempt_with(schedule, 0);
            let fails = result.is_err_and(|cause| cause.symptom() == symptom);
            Tried { failed: fails.then_some(end), steps }
        });
        let cause = self.with_trace(&schedule, cause);
        let test = if self.is_plain() { schedule.to_test() } else { test_of_builder(&schedule) };
        let file = keep(&schedule, "json", |path| std::fs::write(path, schedule.to_json()));
        let timeline =
            timeline_of(self, &schedule).and_then(|timeline| keep(&schedule, "html", |path| timeline.write_html(path)));
        Box::new(Failure { seed: found.seed, cause, found, schedule, runs: runs + 1, test, file, timeline })
    }
}

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
