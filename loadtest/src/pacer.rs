//! Offers sends when they are due, whatever the hub does; and strikes, when a fault is asked for.

use std::process::Command as Process;
use std::time::Duration;

use crate::arrivals::{Arrival, Arrivals};
use crate::engine::{Command, Desks};
use crate::units::{Clock, MS, S, at};
use crate::world::World;

/// What the pacer does.
#[derive(Debug)]
pub struct Plan {
    /// The schedule.
    pub arrivals: Arrivals,
    /// How long it is followed.
    pub length: u64,
    /// Extra sends at once: how many, and how often.
    pub burst: Option<(u32, u64)>,
    /// A command to run in the middle.
    pub fault: Option<Fault>,
}

/// Something that goes wrong on purpose, while sends are unacknowledged.
#[derive(Clone, Debug)]
pub struct Fault {
    /// When, from the first offer.
    pub after: u64,
    /// At least this many sends are unacknowledged then: the pacer offers what is missing at once.
    pub unacked: u64,
    /// Run by `sh -c`; not waited for.
    pub command: String,
}

/// When the fault happened.
#[derive(Clone, Copy, Debug)]
pub struct Struck {
    /// The time just before the command was started.
    pub at: u64,
    /// Unacknowledged sends at that time.
    pub unacked: u64,
}

/// The longest sleep, so that a burst or fault is never late.
const NAP_MAX: u64 = 10 * MS;

/// Follows the plan; returns when it is over.
pub fn pace(mut plan: Plan, world: &World, desks: &Desks) -> Option<Struck> {
    let clock = world.clock();
    let start = clock.now();
    let end = start + plan.length;
    let mut batches: Vec<Vec<Command>> = vec![Vec::new(); at(desks.threads())];
    let mut next = plan.arrivals.advance();
    let mut burst_due = plan.burst.map(|(_, every)| start + every);
    let mut struck = None;
    loop {
        let now = clock.now();
        if now >= end {
            return struck;
        }
        while start + next.at <= now {
            add(&mut batches, next, start + next.at, world, desks);
            next = plan.arrivals.advance();
        }
        if let (Some((size, every)), Some(due)) = (plan.burst, burst_due)
            && due <= now
        {
            for _ in 0..size {
                add(&mut batches, plan.arrivals.choose(0), now, world, desks);
            }
            burst_due = Some(due + every);
        }
        give(&mut batches, desks);
        if let Some(fault) = plan.fault.take_if(|fault| start + fault.after <= now) {
            struck = Some(strike(&fault, &mut plan.arrivals, &mut batches, world, desks));
            continue;
        }
        sleep_until(clock, (start + next.at).min(end).min(now + NAP_MAX));
    }
}

fn add(batches: &mut [Vec<Command>], arrival: Arrival, intended: u64, world: &World, desks: &Desks) {
    let user = world.members(arrival.room)[at(arrival.member)];
    let (thread, client) = desks.seat(user);
    batches[at(thread)].push(Command::Offer {
        client,
        room: arrival.room,
        intended,
    });
}

fn give(batches: &mut [Vec<Command>], desks: &Desks) {
    for (desk, batch) in desks.iter().zip(batches) {
        desk.give(batch);
    }
}

/// Makes sure that enough is unacknowledged, then runs the command.
fn strike(
    fault: &Fault,
    arrivals: &mut Arrivals,
    batches: &mut [Vec<Command>],
    world: &World,
    desks: &Desks,
) -> Struck {
    let clock = world.clock();
    let give_up = clock.now() + 2 * S;
    while desks.unacked() < fault.unacked && clock.now() < give_up {
        for _ in 0..fault.unacked.saturating_mul(2) {
            add(batches, arrivals.choose(0), clock.now(), world, desks);
        }
        give(batches, desks);
        let look_until = clock.now() + 20 * MS;
        while desks.unacked() < fault.unacked && clock.now() < look_until {
            std::thread::sleep(Duration::from_micros(50));
        }
    }
    let struck = Struck {
        at: clock.now(),
        unacked: desks.unacked(),
    };
    if let Ok(mut child) = Process::new("sh").arg("-c").arg(&fault.command).spawn() {
        // Whoever starts a process also waits for it, but the load does not.
        std::thread::spawn(move || child.wait());
    }
    struck
}

fn sleep_until(clock: Clock, due: u64) {
    let now = clock.now();
    if due > now {
        std::thread::sleep(Duration::from_nanos(due - now));
    }
}
