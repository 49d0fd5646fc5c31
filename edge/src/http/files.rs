//! The web app: read once at the start, served from memory. A request can only name what was read.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use hub_ws::handshake::Head;
use thiserror::Error;

use super::response::Response;

/// All files together; a folder with more is not a web app.
const BYTES_MAX: usize = 256 * 1024 * 1024;
/// Answers routes of the app, which only its scripts know.
const INDEX: &str = "/index.html";
/// A file whose name says what is in it never changes.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// Any other is asked for each time; mostly the answer is 304.
const ASK: &str = "no-cache";
/// Bytes of a hash of a name at least.
const HASH_BYTES_MIN: usize = 8;

/// Files by their path, which begins with `/`.
#[derive(Debug)]
pub struct Files {
    by_path: HashMap<String, File>,
}

#[derive(Debug)]
struct File {
    content_type: &'static str,
    cache: &'static str,
    plain: Variant,
    brotli: Option<Variant>,
    gzip: Option<Variant>,
}

#[derive(Debug)]
struct Variant {
    bytes: Bytes,
    /// With its quotes.
    etag: String,
}

/// Why a folder is not served.
#[derive(Debug, Error)]
pub enum LoadError {
    /// It, or something in it, cannot be read.
    #[error("cannot read {}: {error}", .path.display())]
    Read {
        /// What.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It has no start page.
    #[error("{} has no index.html", .0.display())]
    NoIndex(PathBuf),
    /// There is too much in it.
    #[error("{} has more than {BYTES_MAX} bytes", .0.display())]
    TooLarge(PathBuf),
}

impl Files {
    /// Reads a folder and what is below it. Links and names that begin with a dot are left out; `NAME.br` and
    /// `NAME.gz` are `NAME` compressed.
    pub fn load(folder: &Path) -> Result<Self, LoadError> {
        let mut found = read_all(folder)?;
        let mut by_path = HashMap::new();
        let names: Vec<String> = found.keys().cloned().collect();
        let is_variant = |name: &String| {
            let plain = name.strip_suffix(".br").or(name.strip_suffix(".gz"));
            plain.is_some_and(|plain| names.iter().any(|other| other == plain))
        };
        for path in names.iter().filter(|name| !is_variant(name)) {
            let mut take = |name: &str| found.remove(name).map(Variant::new);
            let brotli = take(&format!("{path}.br"));
            let gzip = take(&format!("{path}.gz"));
            let Some(plain) = take(path) else { continue };
            let file = File {
                content_type: content_type(path),
                cache: if is_hashed(path) { FOR_EVER } else { ASK },
                plain,
                brotli,
                gzip,
            };
            by_path.insert(path.clone(), file);
        }
        if !by_path.contains_key(INDEX) {
            return Err(LoadError::NoIndex(folder.to_owned()));
        }
        Ok(Self { by_path })
    }

    /// The answer to a GET or HEAD; `None` if there is no such file.
    pub(super) fn answer(&self, head: &Head<'_>) -> Option<Response> {
        let file = self.find(head.path())?;
        let (variant, coding) = match (&file.brotli, &file.gzip) {
            (Some(variant), _) if accepts(head, "br") => (variant, Some("br")),
            (_, Some(variant)) if accepts(head, "gzip") => (variant, Some("gzip")),
            _ => (&file.plain, None),
        };
        let is_known = head
            .list("if-none-match")
            .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == variant.etag);
        let mut response = if is_known {
            Response::new(304, file.content_type, file.cache, Bytes::new())
        } else {
            Response::new(200, file.content_type, file.cache, variant.bytes.clone())
        };
        response = response.with(&format!("ETag: {}", variant.etag));
        if file.brotli.is_some() || file.gzip.is_some() {
            response = response.with("Vary: Accept-Encoding");
        }
        if let Some(coding) = coding.filter(|_| !is_known) {
            response = response.with(&format!("Content-Encoding: {coding}"));
        }
        let is_head = head.method == "HEAD";
        Some(if is_head { response.head_only() } else { response })
    }

    fn find(&self, path: &str) -> Option<&File> {
        match self.by_path.get(path) {
            None if is_route(path) => self.by_path.get(INDEX),
            file => file,
        }
    }
}

impl Variant {
    fn new(bytes: Vec<u8>) -> Self {
        let hash = URL_SAFE_NO_PAD.encode(digest(&SHA256, &bytes));
        Self {
            bytes: bytes.into(),
            etag: format!("\"{hash}\""),
        }
    }
}

fn read_all(folder: &Path) -> Result<HashMap<String, Vec<u8>>, LoadError> {
    let mut found = HashMap::new();
    let mut bytes_left = BYTES_MAX;
    let mut folders = vec![(folder.to_owned(), String::from("/"))];
    while let Some((folder_now, prefix)) = folders.pop() {
        let failed = |path: &Path, error| LoadError::Read {
            path: path.to_owned(),
            error,
        };
        let entries = std::fs::read_dir(&folder_now).map_err(|error| failed(&folder_now, error))?;
        for entry in entries {
            let entry = entry.map_err(|error| failed(&folder_now, error))?;
            let path = entry.path();
            let kind = entry.file_type().map_err(|error| failed(&path, error))?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
                continue;
            };
            if name.starts_with('.') {
                continue;
            }
            if kind.is_dir() {
                folders.push((path, format!("{prefix}{name}/")));
            } else if kind.is_file() {
                let bytes = std::fs::read(&path).map_err(|error| failed(&path, error))?;
                bytes_left = bytes_left
                    .checked_sub(bytes.len())
                    .ok_or_else(|| LoadError::TooLarge(folder.to_owned()))?;
                found.insert(format!("{prefix}{name}"), bytes);
            }
        }
    }
    Ok(found)
}

/// A path that the app's scripts show: its last segment has no extension, and it is spelt in one way.
fn is_route(path: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_~@".contains(&byte);
    path.starts_with('/') && !path.contains("//") && path.bytes().all(is_plain)
}

/// A name like `index-4f3a9c21.js` or `app.DiwrgTda.css`. A word of eight letters is no hash: it has neither digits nor
/// an upper-case letter after a lower-case one.
fn is_hashed(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let Some((stem, _)) = name.rsplit_once('.') else {
        return false;
    };
    let Some(at) = stem.rfind(['-', '.']) else {
        return false;
    };
    let hash = stem.as_bytes().get(at + 1..).unwrap_or_default();
    let is_spelt = hash
        .iter()
        .all(|&byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let is_mixed = hash.iter().any(u8::is_ascii_digit)
        || hash
            .windows(2)
            .any(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase());
    hash.len() >= HASH_BYTES_MIN && is_spelt && is_mixed
}

/// Whether a coding is acceptable (RFC 9110 §12.5.3).
fn accepts(head: &Head<'_>, coding: &str) -> bool {
    let mut by_star = false;
    for element in head.list("accept-encoding") {
        let mut parts = element.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let is_refused = parts.any(|part| {
            let weight = part.strip_prefix("q=").or(part.strip_prefix("Q="));
            weight.is_some_and(|weight| weight.parse::<f32>().is_ok_and(|weight| weight <= 0.0))
        });
        if name.eq_ignore_ascii_case(coding) {
            return !is_refused;
        }
        by_star |= name == "*" && !is_refused;
    }
    by_star
}

fn content_type(path: &str) -> &'static str {
    let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
    match extension.to_ascii_lowercase().as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "txt" | "md" => "text/plain; charset=utf-8",
        "xml" => "application/xml",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "woff" => "font/woff",
        "ttf" => "font/ttf",
        "wasm" => "application/wasm",
        "mp3" => "audio/mpeg",
        "ogg" => "audio/ogg",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        "pdf" => "application/pdf",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_in_names_are_told_from_words() {
        for (path, expected) in [
            ("/assets/index-4f3a9c21.js", true),
            ("/assets/index-DiwrgTda.css", true),
            ("/main.0123456789abcdef.js", true),
            ("/a-b_cd3fgh.woff2", true),
            ("/index.html", false),
            ("/service-worker.js", false),
            ("/my-component.js", false),
            ("/a-1234567.js", false),
            ("/assets-12345678/logo.svg", false),
            ("/index-4f3a9c21", false),
        ] {
            assert_eq!(is_hashed(path), expected, "{path}");
        }
    }

    #[test]
    fn routes_are_spelt_in_one_way() {
        for (path, expected) in [
            ("/", true),
            ("/rooms/01890a5d-ac96-774b-bcce-b302099a8057", true),
            ("/@ann", true),
            ("/settings/", true),
            ("/a.js", false),
            ("/../etc/passwd", false),
            ("/a/..", false),
            ("/%2e%2e/etc/passwd", false),
            ("/a\\b", false),
            ("//evil", false),
            ("http://a/", false),
            ("*", false),
            ("", false),
        ] {
            assert_eq!(is_route(path), expected, "{path}");
        }
    }

    #[test]
    fn codings_are_weighed() {
        for (value, brotli, gzip) in [
            ("gzip, deflate, br", true, true),
            ("gzip;q=1.0, br;q=0", false, true),
            ("*", true, true),
            ("br;q=0.0, *;q=0.1", false, true),
            ("identity", false, false),
            ("GZIP", false, true),
            ("", false, false),
        ] {
            let text = format!("GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {value}\r\n\r\n");
            let (head, _) = Head::read(text.as_bytes()).unwrap().unwrap();
            assert_eq!(
                (accepts(&head, "br"), accepts(&head, "gzip")),
                (brotli, gzip),
                "{value}"
            );
        }
    }
}
