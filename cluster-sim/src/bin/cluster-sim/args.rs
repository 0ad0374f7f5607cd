//! What can be asked for on the command line.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use cluster_sim::{Builder, Fault, Faults, Rate, Schedule, World};
use lexopt::prelude::*;

/// How many nodes there are if anything else is said of a run.
const NODES: u32 = 3;

/// How long faults last if anything else is said of a run.
const DURATION: Duration = Duration::from_secs(60);

/// A swarm of so many seeds, of which everything is drawn, takes every rare path: if not, something is wrong with it.
pub(crate) const ALL_MARKED: u64 = 10_000;

/// What is to be done.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Help,
    Version,
    Run(Box<Ask>),
}

/// Everything about the runs that are asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ask {
    pub(crate) mode: Mode,
    seed: Option<u64>,
    nodes: Option<u32>,
    duration: Option<Duration>,
    /// As it was written, and what it means.
    faults: Option<(String, Option<Faults>)>,
    /// As it was written, and what it means.
    traffic: Option<(String, Rate)>,
    pub(crate) converge: bool,
    pub(crate) shrink: bool,
    pub(crate) jobs: Option<usize>,
    pub(crate) replay: Option<PathBuf>,
    pub(crate) report: Option<PathBuf>,
    pub(crate) trace: Option<PathBuf>,
    pub(crate) schedule: Option<PathBuf>,
    pub(crate) text: bool,
}

/// How many runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    One,
    Swarm(u64),
    Hashes(u64),
}

impl Default for Ask {
    fn default() -> Ask {
        Ask {
            mode: Mode::One,
            seed: None,
            nodes: None,
            duration: None,
            faults: None,
            traffic: None,
            converge: true,
            shrink: true,
            jobs: None,
            replay: None,
            report: None,
            trace: None,
            schedule: None,
            text: false,
        }
    }
}

impl Ask {
    /// The first seed, if there are many.
    pub(crate) fn seed(&self) -> u64 {
        self.seed.unwrap_or(0)
    }

    /// The run with this seed.
    pub(crate) fn builder(&self, seed: u64) -> Builder {
        let builder = World::builder().converge(self.converge);
        if self.is_drawn() {
            return builder.schedule(Schedule::random(seed));
        }
        let builder = builder.seed(seed).nodes(self.nodes.unwrap_or(NODES)).duration(self.duration.unwrap_or(DURATION));
        let builder = builder.traffic(self.traffic.as_ref().map_or(Rate::LOW, |&(_, rate)| rate));
        match &self.faults {
            Some((_, Some(faults))) => builder.faults(faults.clone()),
            Some((_, None)) | None => builder.random_faults(),
        }
    }

    /// Whether everything about the schedule of each run is drawn from its seed.
    pub(crate) fn is_drawn(&self) -> bool {
        self.nodes.is_none() && self.duration.is_none() && self.faults.is_none() && self.traffic.is_none()
    }

    /// The command that does the run with this seed again.
    pub(crate) fn again(&self, seed: u64) -> String {
        let given = [
            self.nodes.map(|nodes| format!("--nodes {nodes}")),
            self.duration.map(|duration| format!("--duration {}", span(duration))),
            self.faults
                .as_ref()
                .map(|(faults, _)| format!("--faults {}", faults.split_whitespace().collect::<String>())),
            self.traffic.as_ref().map(|(traffic, _)| format!("--traffic {traffic}")),
            (!self.converge).then(|| "--no-heal".to_owned()),
        ];
        let line = format!("cluster-sim --seed {seed}");
        given.into_iter().flatten().fold(line, |line, words| format!("{line} {words}"))
    }

    fn check(&self) -> Result<(), lexopt::Error> {
        let files = [&self.report, &self.trace, &self.schedule];
        let one = files.iter().any(|file| file.is_some()) || self.text;
        if matches!(self.mode, Mode::Hashes(_)) && one {
            return Err("--hashes tells nothing else: use --report, --trace, --schedule and --text without it".into());
        }
        if self.replay.is_some() && self.mode != Mode::One {
            return Err("--replay runs one schedule: use it without --swarm and --hashes".into());
        }
        if self.replay.is_some() && !(self.is_drawn() && self.seed.is_none()) {
            let words = "the file says everything about its run: use --replay without --seed, --nodes, --duration, \
                         --faults and --traffic";
            return Err(words.into());
        }
        if self.jobs.is_some() && self.mode == Mode::One {
            return Err("one run is on one thread: use --jobs with --swarm or --hashes".into());
        }
        Ok(())
    }

    /// There are this many runs, unless something else was said already.
    fn choose(&mut self, mode: Mode) -> Result<(), lexopt::Error> {
        match (self.mode, mode) {
            (Mode::Swarm(_), Mode::Hashes(_)) | (Mode::Hashes(_), Mode::Swarm(_)) => {
                Err("--swarm and --hashes are two things to do: use one of them".into())
            }
            _ => {
                self.mode = mode;
                Ok(())
            }
        }
    }
}

/// Reads the command line, whose first part is the name of the command.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Request, lexopt::Error> {
    let mut parser = lexopt::Parser::from_iter(args);
    let mut ask = Ask::default();
    while let Some(arg) = parser.next()? {
        match arg {
            Short('h') | Long("help") => return Ok(Request::Help),
            Short('V') | Long("version") => return Ok(Request::Version),
            Short('n') | Long("nodes") => ask.nodes = Some(nodes(parser.value()?.parse()?)?),
            Short('s') | Long("seed") => ask.seed = Some(parser.value()?.parse()?),
            Short('d') | Long("duration") => ask.duration = Some(parser.value()?.parse_with(duration)?),
            Short('f') | Long("faults") => {
                let text = parser.value()?.string()?;
                let rates = faults(&text)?;
                ask.faults = Some((text, rates));
            }
            Long("traffic") => {
                let text = parser.value()?.string()?;
                let rate = rate(&text)?;
                ask.traffic = Some((text, rate));
            }
            Long("no-heal") => ask.converge = false,
            Long("no-shrink") => ask.shrink = false,
            Long("swarm") => ask.choose(Mode::Swarm(at_least_one("--swarm", parser.value()?.parse()?)?))?,
            Long("hashes") => ask.choose(Mode::Hashes(at_least_one("--hashes", parser.value()?.parse()?)?))?,
            Short('j') | Long("jobs") => {
                ask.jobs = Some(at_least_one("--jobs", parser.value()?.parse()?)? as usize);
            }
            Long("replay") => ask.replay = Some(parser.value()?.into()),
            Long("report") => ask.report = Some(parser.value()?.into()),
            Long("trace") => ask.trace = Some(parser.value()?.into()),
            Long("schedule") => ask.schedule = Some(parser.value()?.into()),
            Long("text") => ask.text = true,
            other => return Err(other.unexpected()),
        }
    }
    ask.check()?;
    Ok(Request::Run(Box::new(ask)))
}

fn nodes(count: u32) -> Result<u32, String> {
    match count {
        1..=Schedule::MAX_NODES => Ok(count),
        _ => Err(format!("--nodes must be from 1 to {}, and is {count}", Schedule::MAX_NODES)),
    }
}

fn at_least_one(name: &str, count: u64) -> Result<u64, String> {
    if count == 0 { Err(format!("{name} must be at least 1")) } else { Ok(count) }
}

/// `90s`, `1.5h`, `250ms`; seconds without a unit.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return Err(format!("{unit:?} is no unit of time: ms, s, m, h or d is")),
    };
    let seconds = number.parse::<f64>().map_err(|_| format!("{text:?} is no span of time such as 90s"))? * factor;
    match Duration::try_from_secs_f64(seconds) {
        Ok(span) if span <= Schedule::MAX_DURATION => Ok(span),
        _ => Err(format!("a run lasts at most {} days", Schedule::MAX_DURATION.as_secs() / 86_400)),
    }
}

fn span(duration: Duration) -> String {
    match duration.subsec_nanos() {
        0 => format!("{}s", duration.as_secs()),
        _ => format!("{}s", duration.as_secs_f64()),
    }
}

/// `random` (which is `None`), `none`, `all`, or names, each with or without `=RATE`.
fn faults(text: &str) -> Result<Option<Faults>, String> {
    let mut faults = Faults::none();
    let mut parts = text.split(',').map(str::trim).filter(|part| !part.is_empty()).peekable();
    if parts.peek().is_none() {
        return Err("--faults names no fault: none is what switches all of them off".to_owned());
    }
    for part in parts {
        let (name, wanted) = match part.split_once('=') {
            Some((name, text)) => (name, rate(text)?),
            None => (part, Rate::HIGH),
        };
        faults = match name {
            "random" if text == "random" => return Ok(None),
            "random" => return Err("random stands alone: it draws all kinds of fault from the seed".to_owned()),
            "none" => faults,
            "all" => Faults::all(wanted),
            name => faults.with(name.parse::<Fault>().map_err(|error| error.to_string())?, wanted),
        };
    }
    Ok(Some(faults))
}

fn rate(text: &str) -> Result<Rate, String> {
    match text {
        "off" => Ok(Rate::OFF),
        "low" => Ok(Rate::LOW),
        "high" => Ok(Rate::HIGH),
        number => {
            let number = number.parse().map_err(|_| format!("{number:?} is no rate: off, low, high or 0 to 1 is"))?;
            Rate::new(number).map_err(|error| error.to_string())
        }
    }
}

/// What `--help` says.
pub(crate) fn help() -> String {
    let mut kinds = String::new();
    let mut column = 80;
    for (index, fault) in Fault::ALL.iter().enumerate() {
        let comma = if index + 1 < Fault::ALL.len() { "," } else { "" };
        if column + fault.name().len() + 2 > 80 {
            kinds.push_str(if index == 0 { "  " } else { "\n  " });
            column = 2;
        }
        // Writing to a string cannot fail.
        let _ = write!(kinds, "{}{fault}{comma}", if column > 2 { " " } else { "" });
        column += fault.name().len() + 2;
    }
    let (nodes, marked) = (Schedule::MAX_NODES.to_string(), ALL_MARKED.to_string());
    HELP.replace("{kinds}", &kinds).replace("{nodes}", &nodes).replace("{marked}", &marked)
}

const HELP: &str = "\
Runs a mesh of real cluster nodes in a simulated network, in virtual time, with
faults drawn from a seed, and checks that every promise is kept. After the last
fault a part of the nodes is healed and must become a mesh again.

Usage: cluster-sim [options]

What to run
  -s, --seed S         where all randomness comes from [0]
  -n, --nodes N        how many nodes, 1 to {nodes} [3]
  -d, --duration D     how long faults last: 90s, 500ms, 10m, 1h [60s]
  -f, --faults LIST    random: kinds and rates drawn from each seed [random];
                       none; all; or kinds, as in cut,crash=low,pause=0.1
      --traffic RATE   how much the nodes send each other [low]
      --no-heal        stop after the last fault
      --replay FILE    run the schedule in this file instead, which says all of
                       the above but --no-heal

How many runs
      --swarm COUNT    this many seeds, from --seed on, until one fails
      --hashes COUNT   print the trace hash of this many seeds
  -j, --jobs N         on so many threads [all cores]

What to see
      --report FILE    write the timeline as an HTML page
      --trace FILE     write the timeline as JSON, one object a line
      --text           print the timeline
      --schedule FILE  write the schedule that was run
      --no-shrink      when a run fails, do not look for a shorter schedule
  -h, --help           print this
  -V, --version        print the version

Without -n, -d, -f and --traffic all of that, and how nodes are configured, is
drawn from the seed. With one of them the others are as in brackets.

A rate is off, low (about once in a run), high (in one of five slots of time),
or a probability from 0 to 1. A kind of fault without a rate happens at high.

Of a run that failed, the files show the shortest schedule that fails the same
way; of a swarm in which none failed, its first seed.

Kinds of fault
{kinds}

Exit status: 0 all is well, 1 something is wrong in a run, 2 wrong arguments or
a file that cannot be read or written. A swarm of {marked} seeds or more, drawn
as a whole, also ends with 1 if no run took one of the rare paths that the
simulator is there for: then it does not look where it should.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(line: &str) -> Result<Ask, String> {
        let args = std::iter::once("cluster-sim").chain(line.split_whitespace()).map(OsString::from);
        match parse(args) {
            Ok(Request::Run(ask)) => Ok(*ask),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn the_line_that_repeats_a_run_asks_for_the_same() {
        for line in ["", "-n 5", "-d 90s --no-heal", "-d 1500ms --faults cut,crash=0.5 --traffic off", "-f none"] {
            let first = Ask { seed: Some(7), ..ask(line).unwrap() };
            let again = first.again(7);
            assert_eq!(ask(again.strip_prefix("cluster-sim ").unwrap()), Ok(first), "{again}");
        }
    }

    #[test]
    fn spans_are_read_in_every_unit() {
        let spans = ["90", "90s", "250ms", "1.5m", "2h", "1d"].map(|text| duration(text).unwrap().as_millis());
        assert_eq!(spans, [90_000, 90_000, 250, 90_000, 7_200_000, 86_400_000]);
        for text in ["", "s", "1.2.3s", "5y", "-1s", "40d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn faults_are_named_with_or_without_a_rate() {
        let named = faults("cut,crash=low, pause=0.5").unwrap().unwrap();
        let rates = [Fault::Cut, Fault::Crash, Fault::Pause, Fault::Leave].map(|fault| named.rate(fault));
        assert_eq!(rates, [Rate::HIGH, Rate::LOW, Rate::new(0.5).unwrap(), Rate::OFF]);
        assert_eq!(faults("random").unwrap(), None);
        assert_eq!(faults("all=low,cut=off").unwrap().map(|all| all.rate(Fault::Cut)), Some(Rate::OFF));
        for text in ["quake", "cut=often", "cut=2", "random,cut", "", " ", ","] {
            assert!(faults(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for line in ["--nodes 0", "--swarm 0", "--swarm 2 --jobs 0", "--hashes 3 --text", "-n 514", "x"] {
            assert!(ask(line).is_err(), "{line}");
        }
        let alone = ["-s 1", "-n 2", "-d 5s", "-f cut", "--traffic low", "--swarm 2", "--hashes 2", "--jobs 2"];
        for line in alone.map(|other| format!("--replay a {other}")) {
            assert!(ask(&line).is_err(), "{line}");
        }
        for line in ["--swarm 5 --hashes 5", "--hashes 5 --swarm 5", "--jobs 2"] {
            assert!(ask(line).is_err(), "{line}");
        }
        for line in ["--replay a --no-heal --no-shrink --text", "--swarm 5 --swarm 6", "--hashes 5 --jobs 2"] {
            assert!(ask(line).is_ok(), "{line}");
        }
    }

    #[test]
    fn the_help_fits_a_terminal_and_names_every_fault() {
        let help = help();
        assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
        assert!(Fault::ALL.iter().all(|fault| help.contains(fault.name())) && !help.contains('{'));
    }
}
