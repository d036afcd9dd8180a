//! The guest's heap. A strategy starts on a fresh instance each time, and asking a host to
//! grow the memory costs more than most strategies' whole run: what fits into the first
//! part, which is there from the start, never asks.

use core::alloc::Layout;
use core::arch::wasm32::memory_grow;
use core::mem::MaybeUninit;

use talc::base::Talc;
use talc::base::binning::Binning;
use talc::cell::TalcSyncCell;
use talc::source::Source;
use talc::wasm::WasmBinning;

/// Bytes that are there from the start. Room for some hundred features and candidates.
const FIRST: usize = 48 << 10;
/// Bytes of a page of Wasm memory.
const PAGE: usize = 64 << 10;

static mut FIRST_PART: [MaybeUninit<u128>; FIRST / 16] = [MaybeUninit::uninit(); FIRST / 16];

/// First the part that is there, then whole pages.
#[derive(Debug)]
struct Heap {
    is_begun: bool,
}

// SAFETY: it allocates nothing itself.
unsafe impl Source for Heap {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
        let (base, size) = if talc.source.is_begun {
            // With room for the allocator's own marks, and for an alignment within the pages.
            let wanted = layout.size().checked_add(layout.align()).and_then(|n| n.checked_add(1024)).ok_or(())?;
            let pages = wanted.div_ceil(PAGE);
            let end = memory_grow::<0>(pages);
            if end == usize::MAX {
                return Err(());
            }
            ((end * PAGE) as *mut u8, pages * PAGE)
        } else {
            talc.source.is_begun = true;
            ((&raw mut FIRST_PART).cast(), FIRST)
        };
        // SAFETY: nobody else writes there: the first part is named here alone, and is claimed
        // once; the pages are new.
        unsafe { talc.claim(base, size) }.map(drop).ok_or(())
    }
}

#[global_allocator]
static HEAP: TalcSyncCell<Heap, WasmBinning> = TalcSyncCell::new_wasm(Heap { is_begun: false });
