//! What never answers.

use std::hint::black_box;

/// Panics, which is a trap on Wasm.
pub fn trap() -> ! {
    panic!("asked to trap")
}

/// Loops without end, and without a call that could be interrupted.
pub fn spin() -> ! {
    let mut i = 0_u64;
    loop {
        i = black_box(i.wrapping_add(1));
    }
}

/// Asks for memory until there is none.
pub fn memory() -> ! {
    let mut kept = Vec::new();
    loop {
        kept.push(black_box(vec![1_u8; 1 << 20]));
    }
}

/// Recurses without end, whatever an optimiser does about tail calls.
#[allow(unconditional_recursion)]
pub fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 16]);
    recurse(depth.wrapping_add(1)).wrapping_add(black_box(frame[3]))
}
