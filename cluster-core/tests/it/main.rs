//! What the public interface of the core promises, one module for each behaviour.

mod golden;
mod worst;
