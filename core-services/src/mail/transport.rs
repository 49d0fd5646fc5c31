//! Where messages go: into a folder, one file each, or to an SMTP server.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use lettre::message::Mailbox;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use uuid::Uuid;

use super::Message;
use crate::config::{OutboxConfig, OutboxKind};

pub(super) struct Transport {
    from: Mailbox,
    way: Way,
}

enum Way {
    Folder(PathBuf),
    Smtp(AsyncSmtpTransport<Tokio1Executor>),
}

impl Transport {
    /// `None` if nothing is to be sent.
    pub(super) fn open(config: &OutboxConfig) -> Result<Option<Self>, String> {
        let way = match &config.kind {
            OutboxKind::None => return Ok(None),
            OutboxKind::File(folder) => {
                fs::create_dir_all(folder)
                    .map_err(|error| format!("outbox.folder {}: {error}", folder.display()))?;
                Way::Folder(folder.clone())
            }
            OutboxKind::Smtp(url) => {
                let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(url)
                    .map_err(|error| format!("outbox.url: {error}"))?;
                Way::Smtp(builder.build())
            }
        };
        let from = config
            .from
            .parse()
            .map_err(|error| format!("outbox.from: {error}"))?;
        Ok(Some(Self { from, way }))
    }

    /// Hands one message over. The error says nothing about its text.
    pub(super) async fn send(&self, message: &Message) -> Result<(), String> {
        let to = message
            .to
            .parse()
            .map_err(|_address| "not an address".to_owned())?;
        let mail = lettre::Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(message.subject)
            .body(message.text.clone())
            .map_err(|error| error.to_string())?;
        match &self.way {
            Way::Folder(folder) => {
                let (folder, text) = (folder.clone(), mail.formatted());
                let written = tokio::task::spawn_blocking(move || write(&folder, &text)).await;
                match written {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(error)) => Err(error.to_string()),
                    Err(error) => Err(error.to_string()),
                }
            }
            Way::Smtp(smtp) => match smtp.send(mail).await {
                Ok(_answer) => Ok(()),
                Err(error) => Err(error.to_string()),
            },
        }
    }
}

/// Writes `TIME-ORDERED-ID.eml`, completely or not at all, for its owner alone.
fn write(folder: &Path, text: &[u8]) -> io::Result<()> {
    use io::Write as _;
    let path = folder.join(format!("{}.eml", Uuid::now_v7()));
    let part = path.with_extension("part");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&part)?;
    file.write_all(text)?;
    fs::rename(&part, &path)
}
