//! What completions mean: they change rows and fill the lists that a turn works on.

use io_uring::cqueue;

use super::tag::{Tag, split_user_data};
use crate::state::State;
use crate::table::{CLOSE, ConnectionId, GENERATION_MASK, POLL_IN, POLL_OUT, Phase, SHUTDOWN};

/// A poll that reports one of these reports nothing after it.
const END_EVENTS: i32 = (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) as i32;

/// Applies one completion. Slots whose multishot poll ended by itself go into `rearm`.
pub(super) fn apply(state: &mut State, rearm: &mut Vec<u32>, completion: &cqueue::Entry) {
    let Some((tag, slot, generation_bits)) = split_user_data(completion.user_data()) else {
        return;
    };
    let result = completion.result();
    if tag == Tag::Receive {
        state.on_received(slot, result);
        return;
    }
    let Some(row) = state.rows.get_mut(slot as usize) else {
        return;
    };
    if !row.is_owner(generation_bits) {
        return;
    }
    let id = ConnectionId {
        slot,
        generation: row.generation(),
    };
    debug_assert_eq!(id.generation & GENERATION_MASK, generation_bits);
    match tag {
        Tag::PollIn => {
            let is_last = !cqueue::more(completion.flags());
            if is_last {
                row.pending &= !POLL_IN;
            }
            if row.phase() == Phase::Open {
                if result != 0 {
                    state.on_readable(slot, result > 0 && result & END_EVENTS != 0);
                }
                if is_last {
                    rearm.push(slot);
                }
            }
        }
        Tag::PollOut => {
            row.pending &= !POLL_OUT;
            if row.phase() == Phase::Open {
                state.writable.push(id);
            }
        }
        Tag::Send => {
            state.stats.short_sends += 1;
            state.short.push((id, result));
        }
        Tag::Close => row.pending &= !CLOSE,
        Tag::Shutdown => row.pending &= !SHUTDOWN,
        Tag::Cancel | Tag::Receive => {}
    }
    state.try_release(slot);
}
