//! Runs something that may panic, quietly, and says what came of it.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;

use crate::violation::Violation;

/// How something ended that did not end well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Caught {
    /// A world has found something wrong.
    Violation(Violation),
    /// Code under test, or a closure of the user's, panicked: its message and the place.
    Panic(String),
}

/// Calls `run`. Panics in it are not printed: the hook of the process is asked only for those of others.
pub(crate) fn caught<T>(run: impl FnOnce() -> T) -> Result<T, Caught> {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| if CATCHING.get() { note(info) } else { before(info) }));
    });
    let outer = CATCHING.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(run));
    CATCHING.set(outer);
    result.map_err(|payload| match payload.downcast::<Violation>() {
        Ok(violation) => Caught::Violation(*violation),
        Err(payload) => Caught::Panic(NOTED.take().unwrap_or_else(|| words(payload.as_ref()).to_owned())),
    })
}

thread_local! {
    /// A call of [`caught`] is under way on this thread.
    static CATCHING: Cell<bool> = const { Cell::new(false) };
    /// The last panic of this thread.
    static NOTED: RefCell<Option<String>> = const { RefCell::new(None) };
}

fn note(info: &PanicHookInfo<'_>) {
    let place = info.location().map_or_else(String::new, |location| format!(" at {location}"));
    NOTED.set(Some(format!("panicked{place}: {}", words(info.payload()))));
}

fn words(payload: &dyn Any) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without words")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::World;

    #[test]
    fn a_panic_is_caught_with_its_words_and_place() {
        let Err(Caught::Panic(text)) = caught(|| panic!("no {}", 7)) else { panic!("it was caught") };
        assert!(text.contains("no 7") && text.contains("catch.rs"), "{text}");
        assert_eq!(caught(|| 5), Ok(5));
    }

    #[test]
    fn a_violation_is_caught_as_the_value_it_is() {
        let result = caught(|| World::quiet(9).fail("wrong"));
        let Err(Caught::Violation(violation)) = result else { panic!("{result:?}") };
        assert_eq!((violation.seed, violation.text.as_str()), (9, "wrong"));
    }
}
