//! Nodes as processes on hosts of their own: network namespaces with the rates and buffers of real paths.
//!
//! Every test runs with the example `node` of each adapter. Making namespaces takes Linux, root, `ip` and `tc`; without
//! them each test writes a line that begins with `skipped:` to stderr and passes.

/// Makes a module of tests: every test named here takes this [`program::Program`].
macro_rules! tests {
    ($module:ident, $program:ident: $($test:ident),+) => {
        mod $module {
            $(#[test] fn $test() { super::$test(crate::program::$program); })+
        }
    };
}

/// Makes a module of tests for each adapter.
macro_rules! on_every_adapter {
    ($($test:ident),+ $(,)?) => {
        tests!(on_tokio, TOKIO: $($test),+);
        tests!(on_std, STD: $($test),+);
    };
}

/// Makes tests that run with both adapters at once, each in a lab of its own: they spend their time waiting.
macro_rules! on_both_adapters {
    ($($test:ident),+ $(,)?) => {
        mod on_tokio_and_std {
            $(
                #[test]
                fn $test() {
                    std::thread::scope(|scope| {
                        scope.spawn(|| super::$test(crate::program::TOKIO));
                        scope.spawn(|| super::$test(crate::program::STD));
                    });
                }
            )+
        }
    };
}

/// Makes a module of tests for each adapter, and for each example that embeds the core.
macro_rules! on_every_node {
    ($($test:ident),+ $(,)?) => {
        on_every_adapter!($($test),+);
        tests!(on_async_std, ASYNC_STD: $($test),+);
        tests!(on_poll_loop, POLL_LOOP: $($test),+);
    };
}

mod crowds;
mod lab;
mod mesh;
mod names;
mod process;
mod program;
mod slow;
