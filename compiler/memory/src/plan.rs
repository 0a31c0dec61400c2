use std::cmp::Reverse;

use crate::Buffer;

/// A place for every buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Byte offset into the arena, per buffer.
    pub offsets: Vec<usize>,
    pub arena_bytes: usize,
}

/// The step in which most bytes are alive: no plan is smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peak {
    pub step: usize,
    pub bytes: usize,
}

/// Places `buffers` in one arena.
///
/// Greedy: buffers are taken in some order and each goes to the best-fitting gap between those already placed that it
/// meets in time. Several orders are tried and the smallest arena wins; as long as it is above the peak, the buffer
/// that ends last is tried in front. Deterministic; the alignments are the callers' promise to be powers of two.
pub fn plan(buffers: &[Buffer]) -> Plan {
    let bound = peak(buffers).bytes;
    let mut best: Option<(Plan, Vec<usize>)> = None;
    let mut consider = |order: Vec<usize>| {
        let candidate = place(buffers, &order);
        let arena = candidate.arena_bytes;
        if best.as_ref().is_none_or(|(plan, _)| arena < plan.arena_bytes) {
            best = Some((candidate, order));
        }
        arena <= bound
    };
    let done = orders(buffers).into_iter().any(&mut consider);
    let (plan, order) = best.unwrap_or((Plan { offsets: vec![], arena_bytes: 0 }, vec![]));
    if done { plan } else { improve(buffers, plan, order, bound) }
}

/// The step with most live bytes, and how many (alignment left out); the earliest of equals.
pub fn peak(buffers: &[Buffer]) -> Peak {
    let mut changes: Vec<(usize, bool, usize)> = Vec::with_capacity(2 * buffers.len());
    for buffer in buffers {
        // Births sort before deaths: a buffer is alive in its last step, too.
        changes.push((buffer.first, false, buffer.bytes));
        changes.push((buffer.last, true, buffer.bytes));
    }
    changes.sort_unstable();
    let mut live = 0;
    let mut peak = Peak { step: 0, bytes: 0 };
    for (step, dies, bytes) in changes {
        if dies {
            live -= bytes;
        } else {
            live += bytes;
            if live > peak.bytes {
                peak = Peak { step, bytes: live };
            }
        }
    }
    peak
}

/// The orders that do well on neural networks: large first, large and long-lived first, long-lived first, by time.
fn orders(buffers: &[Buffer]) -> [Vec<usize>; 5] {
    let steps = |k: usize| buffers[k].last - buffers[k].first + 1;
    let sorted = |key: &dyn Fn(usize) -> (Reverse<usize>, usize)| {
        let mut order: Vec<usize> = (0..buffers.len()).collect();
        order.sort_by_key(|&k| key(k));
        order
    };
    [
        sorted(&|k| (Reverse(buffers[k].bytes), buffers[k].first)),
        sorted(&|k| (Reverse(buffers[k].bytes), steps(k))),
        sorted(&|k| (Reverse(buffers[k].bytes.saturating_mul(steps(k))), buffers[k].first)),
        sorted(&|k| (Reverse(steps(k)), usize::MAX - buffers[k].bytes)),
        sorted(&|k| (Reverse(0), buffers[k].first)),
    ]
}

/// How often [`improve`] tries, each time at the price of one placement.
const ROUNDS: usize = 32;

/// Moves the buffer that ends last to the front of the order, again and again.
fn improve(buffers: &[Buffer], mut best: Plan, mut order: Vec<usize>, bound: usize) -> Plan {
    let mut current = best.clone();
    for _ in 0..ROUNDS {
        let end = |k: usize| current.offsets[k] + buffers[k].bytes;
        let Some(place_in_order) = (0..order.len()).max_by_key(|&at| end(order[at])) else { break };
        let last = order.remove(place_in_order);
        order.insert(0, last);
        current = place(buffers, &order);
        if current.arena_bytes < best.arena_bytes {
            best = current.clone();
        }
        if best.arena_bytes <= bound {
            break;
        }
    }
    best
}

/// Places the buffers one after the other, each into the smallest gap that takes it, or else at the end.
fn place(buffers: &[Buffer], order: &[usize]) -> Plan {
    let mut offsets = vec![0usize; buffers.len()];
    // Placed buffers by offset.
    let mut placed: Vec<usize> = Vec::with_capacity(buffers.len());
    let mut arena_bytes = 0;
    for &k in order.iter().filter(|&&k| buffers[k].bytes > 0) {
        let meets = |other: &Buffer| other.first <= buffers[k].last && buffers[k].first <= other.last;
        let mut free_from: usize = 0;
        let mut best_gap: Option<(usize, usize)> = None;
        for &other in placed.iter().filter(|&&other| meets(&buffers[other])) {
            let start = free_from.next_multiple_of(buffers[k].align);
            let gap = offsets[other].saturating_sub(start);
            if gap >= buffers[k].bytes && best_gap.is_none_or(|(smallest, _)| gap < smallest) {
                best_gap = Some((gap, start));
            }
            free_from = free_from.max(offsets[other] + buffers[other].bytes);
        }
        offsets[k] = best_gap.map_or(free_from.next_multiple_of(buffers[k].align), |(_, start)| start);
        arena_bytes = arena_bytes.max(offsets[k] + buffers[k].bytes);
        let at = placed.partition_point(|&other| offsets[other] <= offsets[k]);
        placed.insert(at, k);
    }
    Plan { offsets, arena_bytes }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::check;

    fn buffer(bytes: usize, first: usize, last: usize) -> Buffer {
        Buffer { bytes, align: 1, first, last }
    }

    #[test]
    fn nothing_needs_nothing() {
        assert_eq!(plan(&[]), Plan { offsets: vec![], arena_bytes: 0 });
    }

    #[test]
    fn a_chain_needs_its_widest_pair() {
        let chain: Vec<Buffer> =
            [10, 40, 20, 80, 5].iter().enumerate().map(|(k, &bytes)| buffer(bytes, k, k + 1)).collect();
        assert_eq!(plan(&chain).arena_bytes, 100);
        assert_eq!(peak(&chain), Peak { step: 3, bytes: 100 });
    }

    #[test]
    fn a_skip_connection_stays_where_it_is() {
        // x is read again by the last step, over the whole block.
        let block = [buffer(64, 0, 3), buffer(256, 1, 2), buffer(256, 2, 3), buffer(64, 3, 4)];
        let plan = plan(&block);
        assert_eq!(plan.arena_bytes, peak(&block).bytes);
        assert_eq!(check(&block, &plan.offsets), Ok(()));
    }

    fn any_buffers() -> impl Strategy<Value = Vec<Buffer>> {
        let one = (0usize..300, 0u32..7, 0usize..20, 0usize..8).prop_map(|(bytes, align, first, steps)| {
            Buffer { bytes, align: 1 << align, first, last: first + steps }
        });
        prop::collection::vec(one, 0..40)
    }

    proptest! {
        #[test]
        fn every_plan_passes_the_checker(buffers in any_buffers()) {
            let plan = plan(&buffers);
            prop_assert_eq!(check(&buffers, &plan.offsets), Ok(()));
            let end = buffers.iter().zip(&plan.offsets).map(|(b, offset)| offset + b.bytes).max();
            prop_assert_eq!(plan.arena_bytes, end.unwrap_or(0));
            prop_assert!(plan.arena_bytes >= peak(&buffers).bytes);
        }

        #[test]
        fn the_peak_is_what_counting_says(buffers in any_buffers()) {
            let live = |step: usize| -> usize {
                buffers.iter().filter(|b| b.first <= step && step <= b.last).map(|b| b.bytes).sum()
            };
            let most = (0..40).map(live).max().unwrap_or(0);
            let peak = peak(&buffers);
            prop_assert_eq!(peak.bytes, most);
            prop_assert_eq!(live(peak.step), most);
        }

        #[test]
        fn plans_are_deterministic(buffers in any_buffers()) {
            prop_assert_eq!(plan(&buffers), plan(&buffers));
        }

        /// The checker is not blind: laid onto another that lives at the same time, a buffer is refused.
        #[test]
        fn the_checker_sees_a_collision(buffers in any_buffers()) {
            let mut offsets = plan(&buffers).offsets;
            let meet = |a: &Buffer, b: &Buffer| a.first.max(b.first) <= a.last.min(b.last) && a.bytes.min(b.bytes) > 0;
            let pair = (0..buffers.len())
                .flat_map(|b| (0..b).map(move |a| (a, b)))
                .find(|&(a, b)| meet(&buffers[a], &buffers[b]));
            if let Some((a, b)) = pair {
                let (coarse, fine) = if buffers[a].align >= buffers[b].align { (a, b) } else { (b, a) };
                offsets[fine] = offsets[coarse];
                prop_assert!(check(&buffers, &offsets).is_err());
            }
        }
    }
}
