//! `message.history`: which part of a log a caller sees. Pure apart from the two statements.
//!
//! Invariant: every seq of the answered range stands in the answer, as an event or inside `hidden`.

use hub_protocol::api::message::{History, Range};
use hub_protocol::error::ErrorBody;
use hub_protocol::limits::{HISTORY_EVENTS_DEFAULT, HISTORY_EVENTS_MAX, RESULT_BYTES_MAX};
use hub_protocol::{ErrorCode, RoomId, UserId};
use serde_json::value::RawValue;
use tokio_postgres::types::ToSql;

use super::log::LogEvent;
use super::rules::no_such_room;
use super::store::messages::{decorate, events as read_events, hidden};
use super::store::{self, PAGE_SQL, VIEW_SQL, View};
use crate::call::refuse;
use crate::service::WorkError;
use crate::store::{Store, StoreError};

/// What an answer needs beside its events: its own frame, and the brackets of the response.
const FRAME_BYTES: usize = 4 * 1024;

/// Which events to read, and what the answer covers.
#[derive(Debug, PartialEq, Eq)]
struct Page {
    /// Inclusive ranges of visible events, ascending; together at most `limit`.
    ranges: Vec<(i64, i64)>,
    /// The inclusive range that the answer covers.
    low: i64,
    high: i64,
    /// From low to high, or from high to low.
    ascending: bool,
    more: bool,
}

/// Answers a range of a room's log.
pub(super) async fn history(
    store: &Store,
    room: RoomId,
    user: UserId,
    asked: History,
) -> Result<Result<Range, ErrorBody>, WorkError> {
    let given = [asked.after, asked.before, asked.around];
    if given.iter().flatten().count() > 1 {
        return Ok(Err(refuse(
            ErrorCode::BadRequest,
            "at most one of after, before and around",
        )));
    }
    let found = store
        .run_read("chat.history", |tx| async move {
            let rows = tx.query(VIEW_SQL, &[&room.0, &user.0]).await?;
            let Some(view) = store::view(&rows) else {
                return Ok(Err(no_such_room()));
            };
            let pages = pages(&view, asked);
            let ranges = pages.iter().flat_map(|page| page.ranges.iter().copied());
            let (lows, highs): (Vec<i64>, Vec<i64>) = ranges.unzip();
            let (Some(low), Some(high)) = (lows.iter().min(), highs.iter().max()) else {
                return Ok(Ok((pages, Vec::new())));
            };
            let params: [&(dyn ToSql + Sync); 3] = [&room.0, &lows, &highs];
            let (rows, hidden) =
                tokio::try_join!(tx.query(PAGE_SQL, &params), hidden(&tx, room, user, *low, *high))?;
            let mut events = read_events(&rows)?;
            let covers = |seq: i64| {
                let of = |(from, to): &(i64, Option<i64>)| *from <= seq && to.is_none_or(|to| seq <= to);
                view.stays.iter().any(of)
            };
            events.retain(|event| !hidden.contains(&event.seq) && covers(event.seen_with()));
            decorate(&tx, room, user, &mut events).await?;
            Ok::<_, StoreError>(Ok((pages, events)))
        })
        .await?;
    Ok(found.map(|(pages, events)| join(pages, &events)))
}

/// One page, or with `around` two: before it, and from it on.
fn pages(view: &View, asked: History) -> Vec<Page> {
    let Some(around) = asked.around else {
        return vec![page(view, asked)];
    };
    let limit = asked
        .limit
        .unwrap_or(HISTORY_EVENTS_DEFAULT)
        .clamp(1, HISTORY_EVENTS_MAX);
    let half = |limit| History {
        limit: Some(limit),
        ..History::default()
    };
    let after = page(
        view,
        History {
            after: Some(around.saturating_sub(1)),
            ..half(limit.div_ceil(2))
        },
    );
    if limit == 1 {
        return vec![after];
    }
    let before = page(
        view,
        History {
            before: Some(around),
            ..half(limit / 2)
        },
    );
    vec![before, after]
}

/// The answer of one page or two: the later of them is served first.
fn join(mut pages: Vec<Page>, events: &[LogEvent]) -> Range {
    let of = |page: &Page| {
        let from = events.partition_point(|event| event.seq < page.low);
        let to = events.partition_point(|event| event.seq <= page.high);
        events.get(from..to.max(from)).unwrap_or_default()
    };
    let Some(last) = pages.pop() else {
        return Range {
            events: Vec::new(),
            hidden: Vec::new(),
            more: false,
            more_before: None,
        };
    };
    let texts = of(&last);
    let Some(first) = pages.pop() else {
        return answer(last, texts, RESULT_BYTES_MAX, true).0;
    };
    let (after, bytes) = answer(last, texts, RESULT_BYTES_MAX / 2, true);
    let texts = of(&first);
    let (mut range, _) = answer(first, texts, RESULT_BYTES_MAX - bytes, false);
    range.events.extend(after.events);
    range.hidden.extend(after.hidden);
    range.more_before = Some(std::mem::replace(&mut range.more, after.more));
    range
}

/// Chooses the events: the first `limit` visible ones in the direction that was asked.
fn page(view: &View, asked: History) -> Page {
    let limit = i64::from(
        asked
            .limit
            .unwrap_or(HISTORY_EVENTS_DEFAULT)
            .clamp(1, HISTORY_EVENTS_MAX),
    );
    let number = |seq: u64| i64::try_from(seq).unwrap_or(i64::MAX);
    // The log ends at his last event for somebody who is no member any more.
    let end = view
        .stays
        .iter()
        .map(|(_, to)| to.unwrap_or(view.head_seq))
        .max()
        .unwrap_or(0);
    let ascending = asked.after.is_some();
    let mut low = asked.after.map_or(1, |after| number(after).saturating_add(1));
    let mut high = asked.before.map_or(end, |before| (number(before) - 1).min(end));
    let clip = |(from, to): &(i64, Option<i64>)| (low.max(*from), high.min(to.unwrap_or(high)));
    let mut visible: Vec<(i64, i64)> = view.stays.iter().map(clip).filter(|(a, b)| a <= b).collect();
    let mut left = limit;
    let mut ranges = Vec::new();
    if !ascending {
        visible.reverse();
    }
    let mut more = false;
    for (from, to) in visible {
        if left == 0 {
            more = true;
            break;
        }
        let count = (to - from + 1).min(left);
        more = count < to - from + 1;
        ranges.push(if ascending {
            (from, from + count - 1)
        } else {
            (to - count + 1, to)
        });
        left -= count;
    }
    if more {
        match (ascending, ranges.last()) {
            (true, Some((_, to))) => high = *to,
            (false, Some((from, _))) => low = *from,
            (_, None) => {}
        }
    }
    ranges.sort_unstable();
    Page {
        ranges,
        low,
        high,
        ascending,
        more,
    }
}

/// Fills the page with what was read, cut below a bound; the first event is over it at most if it `must` be there.
/// Returns the bytes too.
fn answer(mut page: Page, events: &[LogEvent], bytes_max: usize, must: bool) -> (Range, usize) {
    let mut bytes = FRAME_BYTES;
    let mut kept: Vec<(i64, Box<RawValue>)> = Vec::new();
    let ordered: Box<dyn Iterator<Item = &LogEvent>> = if page.ascending {
        Box::new(events.iter())
    } else {
        Box::new(events.iter().rev())
    };
    for event in ordered {
        let text = String::from_utf8_lossy(&event.text()).into_owned();
        if bytes + text.len() + 1 > bytes_max && !(must && kept.is_empty()) {
            page.more = true;
            match (page.ascending, kept.last()) {
                (true, Some((seq, _))) => page.high = *seq,
                (false, Some((seq, _))) => page.low = *seq,
                (true, None) => page.high = page.low - 1,
                (false, None) => page.low = page.high + 1,
            }
            break;
        }
        bytes += text.len() + 1;
        let text = RawValue::from_string(text).expect("the text of an event is JSON");
        kept.push((event.seq, text));
    }
    kept.sort_by_key(|(seq, _)| *seq);
    let mut hidden = Vec::new();
    let mut next = page.low;
    for (seq, _) in &kept {
        hide(&mut hidden, next, seq - 1);
        next = seq + 1;
    }
    hide(&mut hidden, next, page.high);
    let range = Range {
        events: kept.into_iter().map(|(_, text)| text).collect(),
        hidden,
        more: page.more,
        more_before: None,
    };
    (range, bytes)
}

fn hide(hidden: &mut Vec<[u64; 2]>, from: i64, to: i64) {
    if from <= to {
        hidden.push([from.unsigned_abs(), to.unsigned_abs()]);
    }
}

#[cfg(test)]
mod tests {
    use hub_protocol::Op;
    use hub_protocol::api::event::Kind;
    use proptest::prelude::*;

    use super::*;

    fn event(seq: i64, bytes: usize) -> LogEvent {
        LogEvent {
            room: RoomId::NIL,
            seq,
            n: Some(seq),
            kind: Kind::MessageCreated,
            actor: UserId::NIL,
            op: Op::NIL,
            hash: Default::default(),
            body: "x".repeat(bytes),
            created_at: seq,
            extras: None,
        }
    }

    fn read(view: &View, asked: History, bytes: usize) -> (Vec<u64>, Range) {
        let page = page(view, asked);
        let events: Vec<LogEvent> = page
            .ranges
            .iter()
            .flat_map(|(a, b)| *a..=*b)
            .map(|seq| event(seq, bytes))
            .collect();
        let range = answer(page, &events, RESULT_BYTES_MAX, true).0;
        let seqs = range.events.iter().map(|text| {
            let event: serde_json::Value = serde_json::from_str(text.get()).unwrap();
            event["seq"].as_u64().unwrap()
        });
        (seqs.collect(), range)
    }

    #[test]
    fn a_large_page_is_cut_below_the_bound_of_a_result() {
        let view = View {
            head_seq: 100,
            stays: vec![(1, None)],
        };
        let (seqs, range) = read(
            &view,
            History {
                after: Some(0),
                ..History::default()
            },
            16_000,
        );
        assert!(seqs.len() < 9 && seqs.len() > 5 && range.more, "{seqs:?}");
        assert!(serde_json::to_vec(&range).unwrap().len() <= RESULT_BYTES_MAX);
        let (newest, range) = read(&view, History::default(), 16_000);
        assert_eq!(newest.last(), Some(&100));
        assert!(range.more && range.hidden.is_empty());
    }

    proptest! {
        /// A page around a seq covers it, without a hole, with the neighbours on both sides.
        #[test]
        fn a_page_around_a_seq_has_no_hole(
            head_seq in 1..60_i64, around in 0..70_u64, limit in 1..9_u32, bytes in proptest::sample::select(vec![10_usize, 30_000]),
        ) {
            let view = View { head_seq, stays: vec![(1, None)] };
            let asked = History { around: Some(around), limit: Some(limit), ..History::default() };
            let pages = pages(&view, asked);
            let events: Vec<LogEvent> = pages.iter().flat_map(|page| page.ranges.clone())
                .flat_map(|(a, b)| a..=b).map(|seq| event(seq, bytes)).collect();
            let range = join(pages, &events);
            prop_assert!(serde_json::to_vec(&range).unwrap().len() <= RESULT_BYTES_MAX);
            let seqs: Vec<u64> = range.events.iter().map(|text| {
                serde_json::from_str::<serde_json::Value>(text.get()).unwrap()["seq"].as_u64().unwrap()
            }).collect();
            prop_assert!(seqs.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{:?}", seqs);
            prop_assert!(seqs.len() <= usize::try_from(limit).unwrap());
            let head = head_seq.unsigned_abs();
            if (1..=head).contains(&around) {
                prop_assert!(seqs.contains(&around));
                prop_assert_eq!(range.more, seqs.last() < Some(&head));
                if limit > 1 {
                    prop_assert_eq!(range.more_before, Some(seqs.first() > Some(&1)));
                }
            }
        }

        /// Pages, one after the other in either direction, answer every seq exactly once, and show what the stays
        /// cover and nothing else.
        #[test]
        fn every_seq_is_answered_once(
            cuts in proptest::collection::btree_set(1..60_i64, 1..6),
            open in any::<bool>(), tail in 0..20_i64, limit in 1..9_u32, ascending in any::<bool>(),
        ) {
            let cuts: Vec<i64> = cuts.into_iter().collect();
            let mut stays: Vec<(i64, Option<i64>)> = cuts.chunks_exact(2).map(|c| (c[0], Some(c[1]))).collect();
            let last = cuts.last().copied().unwrap();
            if open || stays.is_empty() {
                stays.push((last + 1, None));
            }
            let head_seq = last + 1 + tail;
            let end = stays.iter().map(|(_, to)| to.unwrap_or(head_seq)).max().unwrap();
            let view = View { head_seq, stays: stays.clone() };
            let mut seen = std::collections::BTreeMap::new();
            let (mut after, mut before) = (0_u64, end.unsigned_abs() + 1);
            for _ in 0..200 {
                let asked = if ascending {
                    History { after: Some(after), limit: Some(limit), ..History::default() }
                } else {
                    History { before: Some(before), limit: Some(limit), ..History::default() }
                };
                let (seqs, range) = read(&view, asked, 10);
                let mut page = Vec::new();
                for seq in seqs { page.push((seq, true)); }
                for [a, b] in &range.hidden { for seq in *a..=*b { page.push((seq, false)); } }
                for (seq, visible) in page {
                    prop_assert!(seen.insert(seq, visible).is_none(), "{seq} twice");
                    after = after.max(seq);
                    before = before.min(seq);
                }
                if !range.more { break; }
            }
            for seq in 1..=end {
                let covered = stays.iter().any(|(from, to)| *from <= seq && to.is_none_or(|to| seq <= to));
                prop_assert_eq!(seen.get(&seq.unsigned_abs()), Some(&covered), "{}", seq);
            }
            prop_assert_eq!(seen.len(), usize::try_from(end).unwrap());
        }
    }
}
