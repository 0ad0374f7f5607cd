//! What cannot be configured, and the checks that find it.

use core::fmt;
use core::time::Duration;

/// Two settings contradict each other; nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    kind: ConfigErrorKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum ConfigErrorKind {
    TooGreat { field: &'static str, value: Value, other: &'static str, bound: Value, equal: bool },
    Zero { field: &'static str },
    Fixed { field: &'static str },
    Together { field: &'static str, other: &'static str },
    Without { field: &'static str, needed: &'static str },
}

/// What a setting holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Span(Duration),
    Number(u64),
}

impl ConfigError {
    /// A setting that cannot change while the node runs was changed.
    pub(crate) fn fixed(field: &'static str) -> ConfigError {
        ConfigError { kind: ConfigErrorKind::Fixed { field } }
    }

    pub(super) fn together(field: &'static str, other: &'static str) -> ConfigError {
        ConfigError { kind: ConfigErrorKind::Together { field, other } }
    }

    pub(super) fn without(field: &'static str, needed: &'static str) -> ConfigError {
        ConfigError { kind: ConfigErrorKind::Without { field, needed } }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ConfigErrorKind::TooGreat { field, value, other, bound, equal } => {
                let relation = if *equal { "at most" } else { "below" };
                write!(f, "{field} ({value}) must be {relation} {other} ({bound})")
            }
            ConfigErrorKind::Zero { field } => write!(f, "{field} must not be zero"),
            ConfigErrorKind::Fixed { field } => write!(f, "{field} cannot change while the node runs"),
            ConfigErrorKind::Together { field, other } => write!(f, "{field} and {other} exclude each other"),
            ConfigErrorKind::Without { field, needed } => write!(f, "{field} needs {needed}"),
        }
    }
}

impl core::error::Error for ConfigError {}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Span(span) => write!(f, "{span:?}"),
            Value::Number(number) => write!(f, "{number}"),
        }
    }
}

impl From<Duration> for Value {
    fn from(span: Duration) -> Value {
        Value::Span(span)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Value {
        Value::Number(number)
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Value {
        Value::Number(number as u64)
    }
}

impl From<u8> for Value {
    fn from(number: u8) -> Value {
        Value::Number(u64::from(number))
    }
}

pub(super) fn positive(field: &'static str, span: Duration) -> Result<(), ConfigError> {
    if span.is_zero() { Err(ConfigError { kind: ConfigErrorKind::Zero { field } }) } else { Ok(()) }
}

pub(crate) fn at_most<T: PartialOrd + Into<Value>>(
    field: &'static str,
    value: T,
    other: &'static str,
    bound: T,
) -> Result<(), ConfigError> {
    if value <= bound {
        return Ok(());
    }
    let (value, bound) = (value.into(), bound.into());
    Err(ConfigError { kind: ConfigErrorKind::TooGreat { field, value, other, bound, equal: true } })
}

pub(super) fn below<T: PartialOrd + Into<Value>>(
    field: &'static str,
    value: T,
    other: &'static str,
    bound: T,
) -> Result<(), ConfigError> {
    if value < bound {
        return Ok(());
    }
    let (value, bound) = (value.into(), bound.into());
    Err(ConfigError { kind: ConfigErrorKind::TooGreat { field, value, other, bound, equal: false } })
}
