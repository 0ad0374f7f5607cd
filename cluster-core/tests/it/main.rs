//! What the public interface of the core promises, one module for each behaviour.

mod allocations;
mod golden;
mod worst;
