//! Messages to people: one-time codes, to an address that they chose.
//!
//! | module | holds |
//! |---|---|
//! | `transport` | a folder, or SMTP |
//!
//! A caller never waits for a delivery. Messages wait in memory, bounded; one that cannot be sent is tried again a
//! few times and then dropped and counted: whoever misses it asks for another code.

mod transport;

use std::time::Duration;

use metrics::counter;
use tokio::sync::mpsc;

use crate::config::OutboxConfig;
use transport::Transport;

/// Messages that may wait.
const WAITING_MAX: usize = 256;
/// Between the tries of one message; its number bounds them.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];
/// One try.
const TRY_MAX: Duration = Duration::from_secs(20);

/// A message to one person.
pub struct Message {
    /// Where it goes.
    pub to: String,
    /// What it is about.
    pub subject: &'static str,
    /// Plain text.
    pub text: String,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Message([redacted])")
    }
}

/// Takes messages for delivery. Clones share the queue.
#[derive(Clone, Debug)]
pub struct Mailer {
    queue: Option<mpsc::Sender<Message>>,
}

impl Mailer {
    /// Starts the delivery, on a task that ends with the last clone.
    pub fn start(config: &OutboxConfig) -> Result<Self, String> {
        let Some(transport) = Transport::open(config)? else {
            return Ok(Self { queue: None });
        };
        let (queue, waiting) = mpsc::channel(WAITING_MAX);
        tokio::spawn(deliver(transport, waiting));
        Ok(Self { queue: Some(queue) })
    }

    /// False if this system sends nothing.
    pub fn can_send(&self) -> bool {
        self.queue.is_some()
    }

    /// Takes a message; drops it, counted, if too many wait.
    pub fn offer(&self, message: Message) {
        let Some(queue) = &self.queue else { return };
        if queue.try_send(message).is_err() {
            count("full");
        }
    }
}

async fn deliver(transport: Transport, mut waiting: mpsc::Receiver<Message>) {
    while let Some(message) = waiting.recv().await {
        let mut pauses = PAUSES.iter();
        loop {
            let sent = tokio::time::timeout(TRY_MAX, transport.send(&message)).await;
            let error = match sent {
                Ok(Ok(())) => {
                    count("sent");
                    break;
                }
                Ok(Err(error)) => error,
                Err(_elapsed) => "no answer in time".to_owned(),
            };
            let Some(pause) = pauses.next() else {
                tracing::warn!(error, "a message could not be sent and is dropped");
                count("failed");
                break;
            };
            tokio::time::sleep(*pause).await;
        }
    }
}

fn count(outcome: &'static str) {
    counter!("hub_services_messages_total", "outcome" => outcome).increment(1);
}
