//! Playing scenarios: each on a thread of its own, with a limit.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::arm::Arm;
use crate::scenarios::SCENARIOS;
use crate::stage::Stage;

/// How long a scenario may take, in real time. Most take less than a second.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Something that every adapter must do, as a play with a few nodes.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// A sentence about what is to happen, which is also the name of its test.
    pub name: &'static str,
    /// What of the public behaviour it is about, such as `join` or `back-pressure`.
    pub about: &'static str,
    pub(crate) needs_sockets: bool,
    pub(crate) play: fn(&Stage<'_>),
}

/// A scenario went another way than it must.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which scenario.
    pub scenario: &'static str,
    /// What went wrong, at which node.
    pub text: String,
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scenario").field("name", &self.name).field("about", &self.about).finish_non_exhaustive()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.scenario, self.text)
    }
}

impl std::error::Error for Failure {}

impl Scenario {
    /// The scenario of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Scenario> {
        SCENARIOS.iter().find(|scenario| scenario.name == name)
    }

    /// Plays it with nodes of a new arm, on a thread of its own. A scenario that has not ended within [`LIMIT`] has
    /// failed, and its thread is left behind.
    ///
    /// # Errors
    ///
    /// What went wrong.
    pub fn play<A: Arm>(&'static self, make: impl FnOnce() -> A + Send + 'static) -> Result<(), Failure> {
        let (sender, receiver) = mpsc::channel();
        let playing = thread::Builder::new().name(self.name.into()).spawn(move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                let arm = make();
                if self.needs_sockets && !arm.has_sockets() {
                    return;
                }
                let stage = Stage::new(&arm);
                (self.play)(&stage);
                stage.finish();
            }));
            // Whoever asked has waited as long as it would.
            let _ = sender.send(outcome.map_err(|payload| words(payload.as_ref())));
        });
        let fail = |text: String| Err(Failure { scenario: self.name, text });
        if let Err(error) = playing {
            return fail(format!("there is no thread for it: {error}"));
        }
        match receiver.recv_timeout(LIMIT) {
            Ok(outcome) => outcome.or_else(fail),
            Err(_) => fail(format!("it has not ended within {LIMIT:?}")),
        }
    }
}

/// Plays the scenario of this name, as the tests of [`conformance!`](crate::conformance) do.
///
/// # Panics
///
/// If it fails, or there is none.
#[track_caller]
pub fn run<A: Arm>(name: &str, make: impl FnOnce() -> A + Send + 'static) {
    let Some(scenario) = Scenario::named(name) else { panic!("there is no scenario {name}") };
    if let Err(failure) = scenario.play(make) {
        panic!("{failure}");
    }
}

fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}
