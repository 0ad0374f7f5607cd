//! Nodes as processes on hosts of their own: network namespaces with the rates and buffers of real paths.
//!
//! Every test runs with the example `node` of each adapter. Making namespaces takes Linux, root, `ip` and `tc`; without
//! them each test writes a line that begins with `skipped:` to stderr and passes.

/// Makes a module of tests for each adapter: every test named here takes the [`program::Program`] of one.
macro_rules! on_every_adapter {
    ($($test:ident),+ $(,)?) => {
        mod on_tokio {
            $(#[test] fn $test() { super::$test(crate::program::TOKIO); })+
        }
        mod on_std {
            $(#[test] fn $test() { super::$test(crate::program::STD); })+
        }
    };
}

mod lab;
mod mesh;
mod process;
mod program;
