//! Proves that `cluster-core` needs no standard library. Only checked, never run.
#![no_std]
#![no_main]

extern crate alloc;

use core::alloc::{GlobalAlloc, Layout};

use cluster_core::{Config, Incarnation, Instant, Node, Secret, Start};

struct NoMemory;

// SAFETY: an allocator may always fail, and this one does nothing else.
unsafe impl GlobalAlloc for NoMemory {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        core::ptr::null_mut()
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static ALLOCATOR: NoMemory = NoMemory;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(no_mangle)]
extern "C" fn main() -> i32 {
    let start = Start { seed: [0; 32], incarnation: Incarnation(1), listen: None };
    i32::from(Node::new(Config::new(Secret::from_bytes([0; 32])), start, Instant::ZERO).is_err())
}
