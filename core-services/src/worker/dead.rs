//! Dead letters: what could not be worked on is kept for an operator, sealed and bounded.

use hub_protocol::batch::{BatchError, EnvelopeHeader};
use hub_protocol::seal::{Binding, Sealer, Way};
use hub_protocol::{Address, Method, Service, keys};
use metrics::counter;
use redis::RedisResult;
use redis::aio::MultiplexedConnection;

use super::answer::binding;
use super::split::Poison;

/// Letters of one partition. Bound: the oldest go.
const LETTERS_MAX: usize = 1_000;

/// Something that could not be worked on.
#[derive(Debug)]
pub(super) struct DeadLetter {
    partition: u16,
    method: &'static str,
    why: String,
    sealed: Vec<u8>,
}

impl DeadLetter {
    /// A call that was taken out of a transaction.
    pub(super) fn of_call(
        partition: u16,
        header: &EnvelopeHeader,
        body: &[u8],
        poison: &Poison,
        sealer: &Sealer,
        minute: u32,
    ) -> Option<Self> {
        let why = match poison {
            Poison::Data(why) => why.clone(),
            Poison::Panic => "panic".to_owned(),
        };
        let sealed = sealer.seal(&binding(header, Way::Up), minute, body).ok()?;
        Some(Self {
            partition,
            method: header.method.name(),
            why,
            sealed,
        })
    }

    /// An entry that is no batch.
    pub(super) fn of_entry(
        partition: u16,
        batch: &[u8],
        error: BatchError,
        sealer: &Sealer,
        minute: u32,
    ) -> Option<Self> {
        // It belongs to no call: bound to the first method and to no address.
        let (method, address) = (Method::AuthRegister, Address::default());
        let nobody = Binding {
            way: Way::Up,
            method,
            address,
            request: 0,
        };
        let sealed = sealer.seal(&nobody, minute, batch).ok()?;
        Some(Self {
            partition,
            method: "",
            why: error.to_string(),
            sealed,
        })
    }
}

/// Puts letters away.
pub(super) async fn bury(
    redis: &mut MultiplexedConnection,
    service: Service,
    letters: &[DeadLetter],
) -> RedisResult<()> {
    if letters.is_empty() {
        return Ok(());
    }
    let mut pipe = redis::pipe();
    for letter in letters {
        pipe.cmd("XADD")
            .arg(keys::dead_letters(service, letter.partition));
        pipe.arg("MAXLEN").arg("~").arg(LETTERS_MAX).arg("*");
        pipe.arg("method")
            .arg(letter.method)
            .arg("why")
            .arg(&letter.why)
            .arg("sealed")
            .arg(&letter.sealed)
            .ignore();
    }
    counter!("hub_services_dead_letters_total", "service" => service.name()).increment(letters.len() as u64);
    pipe.query_async(redis).await
}
