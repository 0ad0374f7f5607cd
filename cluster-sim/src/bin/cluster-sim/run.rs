//! Does what was asked for, and says what came of it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Write as _, stdout};
use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;

use cluster_sim::{Builder, Cause, Failure, Mark, Schedule, ScheduleError, Summary, Swarm, Timeline, World};

use crate::args::{ALL_MARKED, Ask};
use crate::bar::Bar;

/// How wide the timeline is if nobody says how wide the terminal is.
const WIDTH: usize = 100;

/// One run: of a seed, or of the schedule in a file.
pub(crate) fn one(ask: &Ask) -> Result<bool, String> {
    let builder = match &ask.replay {
        Some(path) => World::builder().schedule(read(path)?).converge(ask.converge),
        None => ask.builder(ask.seed()),
    };
    let schedule = builder.plan().map_err(impossible)?;
    let (result, timeline) = builder.timeline().map_err(impossible)?;
    match result {
        Ok(summary) => {
            say(format_args!("{}", told(&summary, &schedule)))?;
            show(ask, &timeline, &schedule)?;
            Ok(true)
        }
        Err(cause) if !ask.shrink => {
            say(format_args!("seed {} fails: {cause}", schedule.seed))?;
            show(ask, &timeline, &schedule)?;
            say(format_args!("\nAgain: {}", again(ask, schedule.seed)))?;
            Ok(false)
        }
        Err(_) => match builder.run() {
            Ok(_) => Err("the run failed, and did not fail again: it depends on more than its seed".to_owned()),
            Err(failure) => failed(ask, &builder, &failure),
        },
    }
}

/// Runs of many seeds.
pub(crate) fn swarm(ask: &Ask, count: u64) -> Result<bool, String> {
    let seeds = seeds(ask, count)?;
    ask.builder(seeds.start).plan().map_err(impossible)?;
    let bar = Bar::new();
    let result = runs(ask, seeds.clone()).progress(|progress| bar.tell(progress)).run(|seed| ask.builder(seed));
    bar.end();
    match result {
        Ok(tally) => {
            let seconds = bar.elapsed().as_secs_f64();
            let rate = tally.seeds as f64 / seconds.max(0.001);
            say(format_args!(
                "seeds {} to {}: no violation; {} steps, {seconds:.1} s, {rate:.0} seeds a second, hash {:#018x}",
                seeds.start,
                seeds.end - 1,
                tally.steps,
                tally.hash
            ))?;
            let well = say_missing(ask, count, &tally.marks.missing())?;
            let builder = ask.builder(seeds.start);
            if wants_files(ask) {
                let (_, timeline) = builder.timeline().map_err(impossible)?;
                show(ask, &timeline, &builder.plan().map_err(impossible)?)?;
            }
            Ok(well)
        }
        Err(failure) => failed(ask, &ask.builder(failure.seed), &failure),
    }
}

/// Says which rare paths no run of a swarm took, and whether a swarm of so many seeds may miss any.
fn say_missing(ask: &Ask, seeds: u64, missing: &[Mark]) -> Result<bool, String> {
    if missing.is_empty() {
        return Ok(true);
    }
    let names: Vec<String> = missing.iter().map(|mark| format!("{mark:?}")).collect();
    say(format_args!("rare paths that no run took: {}", names.join(", ")))?;
    let too_long = seeds >= ALL_MARKED && ask.is_drawn() && ask.converge;
    if too_long {
        say(format_args!(
            "{ALL_MARKED} seeds or more must take each of them: what is drawn, or the core, has changed"
        ))?;
    }
    Ok(!too_long)
}

/// The hashes of many seeds, a line each.
pub(crate) fn hashes(ask: &Ask, count: u64) -> Result<bool, String> {
    let seeds = seeds(ask, count)?;
    let lines = Mutex::new(Lines { next: seeds.start, early: BTreeMap::new(), said: Ok(()) });
    let tell = |summary: &Summary| {
        if let Ok(mut lines) = lines.lock() {
            lines.add(summary);
        }
    };
    let result = runs(ask, seeds).each(tell).run(|seed| ask.builder(seed));
    if let Ok(lines) = lines.into_inner() {
        lines.said?;
    }
    match result {
        Ok(_) => Ok(true),
        Err(failure) => failed(ask, &ask.builder(failure.seed), &failure),
    }
}

/// Says the hashes of runs in the order of their seeds, whichever ended first.
struct Lines {
    next: u64,
    /// Of seeds that come later than the next.
    early: BTreeMap<u64, u64>,
    said: Result<(), String>,
}

impl Lines {
    fn add(&mut self, summary: &Summary) {
        self.early.insert(summary.seed, summary.hash);
        while let (Ok(()), Some(hash)) = (&self.said, self.early.remove(&self.next)) {
            self.said = say(format_args!("{} {hash:016x}", self.next));
            self.next += 1;
        }
    }
}

fn seeds(ask: &Ask, count: u64) -> Result<Range<u64>, String> {
    let end = ask.seed().checked_add(count).ok_or("the seeds go beyond the largest number")?;
    Ok(ask.seed()..end)
}

fn runs<'a>(ask: &Ask, seeds: Range<u64>) -> Swarm<'a> {
    let swarm = Swarm::new(seeds).shrink(ask.shrink);
    match ask.jobs {
        Some(jobs) => swarm.threads(jobs),
        None => swarm,
    }
}

/// Says everything about a run that failed.
fn failed(ask: &Ask, builder: &Builder, failure: &Failure) -> Result<bool, String> {
    if let Cause::Impossible(error) = &failure.cause {
        return Err(error.to_string());
    }
    say(format_args!("{failure}"))?;
    if wants_files(ask) {
        let shortest = builder.clone().schedule(failure.schedule.clone());
        let (_, timeline) = shortest.timeline().map_err(impossible)?;
        show(ask, &timeline, &failure.schedule)?;
    }
    say(format_args!("\nAgain: {}", again(ask, failure.seed)))?;
    Ok(false)
}

fn again(ask: &Ask, seed: u64) -> String {
    match &ask.replay {
        Some(path) => {
            let heal = if ask.converge { "" } else { " --no-heal" };
            format!("cluster-sim --replay {}{heal}", quoted(&path.display().to_string()))
        }
        None => ask.again(seed),
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./+:,@%=".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn told(summary: &Summary, schedule: &Schedule) -> String {
    format!(
        "seed {}: no violation; {} nodes, {} steps of the schedule, {:.3} virtual seconds, {} events, hash {:#018x}",
        summary.seed,
        schedule.nodes,
        schedule.steps.len(),
        summary.time.as_secs_f64(),
        summary.steps,
        summary.hash
    )
}

fn wants_files(ask: &Ask) -> bool {
    ask.text || [&ask.report, &ask.trace, &ask.schedule].iter().any(|file| file.is_some())
}

/// Prints and writes what was asked for.
fn show(ask: &Ask, timeline: &Timeline, schedule: &Schedule) -> Result<(), String> {
    if ask.text {
        say(format_args!("\n{}", timeline.to_text(columns())))?;
    }
    if let Some(path) = &ask.report {
        timeline.write_html(path).map_err(|error| unusable(path, &error))?;
        say(format_args!("The timeline is in {}", path.display()))?;
    }
    if let Some(path) = &ask.trace {
        let write = || {
            let mut file = BufWriter::new(File::create(path)?);
            timeline.write_jsonl(&mut file)?;
            file.flush()
        };
        write().map_err(|error| unusable(path, &error))?;
        say(format_args!("The trace is in {}", path.display()))?;
    }
    if let Some(path) = &ask.schedule {
        std::fs::write(path, schedule.to_json()).map_err(|error| unusable(path, &error))?;
        say(format_args!("The schedule is in {}", path.display()))?;
    }
    Ok(())
}

/// Prints a line. The standard output stream may end before it is told everything.
fn say(line: fmt::Arguments<'_>) -> Result<(), String> {
    writeln!(stdout(), "{line}").map_err(|error| format!("the standard output: {error}"))
}

/// How wide the terminal is, if the shell has told.
fn columns() -> usize {
    std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok()).unwrap_or(WIDTH)
}

fn read(path: &Path) -> Result<Schedule, String> {
    let text = std::fs::read_to_string(path).map_err(|error| unusable(path, &error))?;
    Schedule::from_json(&text).map_err(|error| format!("{}: {error}", path.display()))
}

fn unusable(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

fn impossible(error: ScheduleError) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Request, parse};

    #[test]
    fn no_shorter_schedule_is_looked_for_that_is_not_wanted() {
        let shrunk = |line: &str| {
            let line = std::iter::once("cluster-sim").chain(line.split_whitespace());
            let Ok(Request::Run(ask)) = parse(line.map(Into::into)) else { panic!("it is a run") };
            let run = |seed| ask.builder(seed).invariant(|_| Err("nothing is ever right".to_owned()));
            let failure = runs(&ask, seeds(&ask, 2).unwrap()).run(run).unwrap_err();
            failure.schedule.steps.len() < failure.found.steps.len()
        };
        assert!(shrunk("--swarm 2"));
        assert!(!shrunk("--swarm 2 --no-shrink") && !shrunk("--hashes 2 --no-shrink"));
    }

    #[test]
    fn a_path_is_quoted_where_a_shell_would_see_more_in_it() {
        for plain in ["s.json", "/tmp/cluster-sim/seed-7.json", "C:/a+b,c@d%20=e"] {
            assert_eq!(quoted(plain), plain);
        }
        assert_eq!(quoted("my runs/s.json"), "'my runs/s.json'");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn only_a_long_swarm_of_which_all_is_drawn_must_take_every_rare_path() {
        let well = |line: &str, seeds, missing: &[Mark]| {
            let line = std::iter::once("cluster-sim").chain(line.split_whitespace());
            let Ok(Request::Run(ask)) = parse(line.map(Into::into)) else { panic!("it is a run") };
            say_missing(&ask, seeds, missing)
        };
        assert_eq!(well("", ALL_MARKED, &[]), Ok(true));
        assert_eq!(well("", ALL_MARKED, &[Mark::InDoubt]), Ok(false));
        assert_eq!(well("", ALL_MARKED - 1, &[Mark::InDoubt]), Ok(true));
        for line in ["-n 4", "-d 5s", "-f cut", "--traffic off", "--no-heal"] {
            assert_eq!(well(line, ALL_MARKED, &[Mark::InDoubt]), Ok(true), "{line}");
        }
    }
}
