//! Goal: the web app's files are served as they are, once per version, and nothing else is. Method: the real binary, a
//! folder, raw sockets.

mod support;

use std::path::Path;

use support::client::{Client, Reply};
use support::edge::{Edge, command};

/// A Redis that is never there.
const NOWHERE: &str = "unix:///nowhere/redis.sock";

const INDEX: &str = "<!doctype html><title>hub</title>";
const SCRIPT: &str = "console.log('a script that is worth compressing')";

/// A folder with an app, beside a file that is none of its.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let web = folder.path().join("web");
    std::fs::create_dir_all(web.join("assets")).expect("a folder");
    let write = |path: &Path, bytes: &[u8]| std::fs::write(path, bytes).expect("writes");
    write(&folder.path().join("secret"), b"secret");
    write(&web.join("index.html"), INDEX.as_bytes());
    write(&web.join("favicon.svg"), b"<svg/>");
    write(&web.join("large.bin"), &vec![7; 3_000_000]);
    write(&web.join(".env"), b"secret");
    write(&web.join("assets/index-4f3a9c21.js"), SCRIPT.as_bytes());
    write(&web.join("assets/index-4f3a9c21.js.br"), b"in brotli");
    write(&web.join("assets/index-4f3a9c21.js.gz"), b"in gzip");
    std::os::unix::fs::symlink(folder.path().join("secret"), web.join("link.txt")).expect("links");
    folder
}

fn edge(folder: &tempfile::TempDir) -> Edge {
    let web = folder.path().join("web");
    Edge::start("auto", NOWHERE, &[("SERVER__WEB", web.to_str().expect("text"))])
}

fn get(client: &mut Client, path: &str, lines: &str) -> Reply {
    client.write(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{lines}\r\n").as_bytes());
    client.reply()
}

/// The value of a header, if it is there.
fn header<'r>(reply: &'r Reply, name: &str) -> Option<&'r str> {
    reply.head.lines().find_map(|line| {
        let (known, value) = line.split_once(": ")?;
        known.eq_ignore_ascii_case(name).then_some(value)
    })
}

#[test]
fn files_have_their_type_their_tag_and_their_lifetime() {
    let folder = folder();
    let edge = edge(&folder);
    let mut client = edge.connect();
    for (path, content_type, cache, body) in [
        ("/", "text/html; charset=utf-8", "no-cache", INDEX),
        ("/index.html", "text/html; charset=utf-8", "no-cache", INDEX),
        ("/index.html?v=1", "text/html; charset=utf-8", "no-cache", INDEX),
        ("/rooms/7", "text/html; charset=utf-8", "no-cache", INDEX),
        ("/favicon.svg", "image/svg+xml", "no-cache", "<svg/>"),
        (
            "/assets/index-4f3a9c21.js",
            "text/javascript; charset=utf-8",
            "public, max-age=31536000, immutable",
            SCRIPT,
        ),
    ] {
        let reply = get(&mut client, path, "");
        assert_eq!(reply.status, 200, "{path}");
        assert_eq!(header(&reply, "Content-Type"), Some(content_type), "{path}");
        assert_eq!(header(&reply, "Cache-Control"), Some(cache), "{path}");
        assert_eq!(reply.body, body.as_bytes(), "{path}");
        assert_eq!(header(&reply, "Connection"), Some("keep-alive"));
        // Asked for again.
        let tag = header(&reply, "ETag").expect("a tag");
        assert_eq!(tag.len(), 45, "256 bits in base64, in quotes");
        for known in [
            tag.to_owned(),
            format!("W/{tag}"),
            format!("\"x\", {tag}"),
            "*".to_owned(),
        ] {
            let again = get(&mut client, path, &format!("If-None-Match: {known}\r\n"));
            assert_eq!((again.status, again.body.len()), (304, 0), "{path}: {known}");
            assert_eq!(header(&again, "ETag"), Some(tag));
            assert_eq!(header(&again, "Cache-Control"), Some(cache));
        }
        assert_eq!(get(&mut client, path, "If-None-Match: \"x\"\r\n").status, 200);
    }
    let large = get(&mut client, "/large.bin", "");
    assert_eq!(large.body, vec![7; 3_000_000]);
    assert_eq!(header(&large, "Content-Type"), Some("application/octet-stream"));
}

#[test]
fn compressed_files_go_to_those_who_take_them() {
    let folder = folder();
    let edge = edge(&folder);
    let mut client = edge.connect();
    let path = "/assets/index-4f3a9c21.js";
    let mut tags = Vec::new();
    for (accepted, coding, body) in [
        ("gzip, deflate, br", Some("br"), "in brotli"),
        ("gzip", Some("gzip"), "in gzip"),
        ("gzip, br;q=0", Some("gzip"), "in gzip"),
        ("identity", None, SCRIPT),
    ] {
        let reply = get(&mut client, path, &format!("Accept-Encoding: {accepted}\r\n"));
        assert_eq!(header(&reply, "Content-Encoding"), coding, "{accepted}");
        assert_eq!(header(&reply, "Vary"), Some("Accept-Encoding"));
        assert_eq!(
            header(&reply, "Content-Type"),
            Some("text/javascript; charset=utf-8")
        );
        assert_eq!(reply.body, body.as_bytes(), "{accepted}");
        tags.push(header(&reply, "ETag").expect("a tag").to_owned());
    }
    assert_eq!(tags[1], tags[2]);
    tags.dedup();
    assert_eq!(tags.len(), 3, "each form has its tag");
    assert_eq!(
        get(&mut client, &format!("{path}.br"), "").status,
        404,
        "a form is no file"
    );
}

#[test]
fn what_is_not_in_the_folder_is_not_served() {
    let folder = folder();
    let edge = edge(&folder);
    for path in [
        "/../secret",
        "/assets/../../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/%2e%2e%2fsecret",
        "/..\\secret",
        "//secret",
        "/./index.html",
        "/assets//index-4f3a9c21.js",
        "/assets/%2e%2e/index.html",
        "/.env",
        "/link.txt",
        "/assets/missing.js",
        "/index.html%00.js",
        "/v1/",
        "/v1/nothing",
        "http://a/index.html",
        "index.html",
        "*",
    ] {
        let reply = edge.request(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(reply.status, 404, "{path}");
        assert!(!reply.body.windows(6).any(|window| window == b"secret"), "{path}");
    }
    for (request, status) in [
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 405),
        ("OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}", 400),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            501,
        ),
    ] {
        let reply = edge.request(request);
        assert_eq!(reply.status, status, "{request:?}");
        assert_eq!(
            header(&reply, "Allow"),
            (status == 405).then_some("GET, HEAD"),
            "{request:?}"
        );
    }
}

#[test]
fn pages_are_shut_off_from_other_origins() {
    let folder = folder();
    let edge = edge(&folder);
    let replies = [
        edge.request("GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        edge.request("GET /missing.js HTTP/1.1\r\nHost: a\r\n\r\n"),
        edge.call(None, "{}"),
    ];
    for reply in replies {
        let policy = header(&reply, "Content-Security-Policy").expect("a policy");
        assert_eq!(
            policy,
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
             font-src 'self'; connect-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'"
        );
        assert_eq!(header(&reply, "X-Content-Type-Options"), Some("nosniff"));
        assert_eq!(header(&reply, "Referrer-Policy"), Some("no-referrer"));
    }
}

#[test]
fn head_says_what_get_would_and_pipelined_requests_are_answered_in_order() {
    let folder = folder();
    let edge = edge(&folder);
    let mut client = edge.connect();
    client.write(
        b"HEAD /large.bin HTTP/1.1\r\nHost: a\r\n\r\nHEAD /favicon.svg HTTP/1.1\r\nHost: a\r\n\r\n\
          POST /v1/rpc HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}GET /favicon.svg HTTP/1.0\r\n\r\n",
    );
    let head = client.head();
    assert!(head.contains("\r\nContent-Length: 3000000\r\n"), "{head}");
    let head = client.head();
    assert!(head.contains("\r\nContent-Length: 6\r\n"), "{head}");
    assert_eq!(client.reply().status, 400);
    let mut refused = edge.connect();
    refused.write(b"HEAD /missing.js HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(refused.head().starts_with("HTTP/1.1 404 "));
    assert!(refused.is_closed(), "no answer to HEAD has a body");
    let last = client.reply();
    assert_eq!((last.status, last.body.as_slice()), (200, b"<svg/>".as_slice()));
    assert!(client.is_closed(), "HTTP/1.0 without keep-alive");
}

#[test]
fn who_does_not_read_a_file_is_cut() {
    let folder = folder();
    let web = folder.path().join("web");
    std::fs::write(web.join("huge.bin"), vec![7; 30_000_000]).expect("writes");
    let web = web.to_str().expect("text");
    let edge = Edge::start(
        "auto",
        NOWHERE,
        &[("SERVER__WEB", web), ("LIMITS__HEADER_MS", "300")],
    );
    let mut client = Client::connect_narrow(edge.address());
    client.write(b"GET /huge.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    edge.metric_is("hub_edge_unread_responses_total", |count| count == 1);
}

#[test]
fn a_folder_that_is_no_app_is_named_at_the_start() {
    let empty = tempfile::tempdir().expect("a folder");
    let keys = support::keys::Keys::make();
    for (web, expected) in [
        (empty.path().to_str().expect("text"), "no index.html"),
        ("/nowhere/web", "/nowhere/web"),
    ] {
        let output = command()
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--keys"])
            .arg(keys.path())
            .env("HUB_EDGE__SERVER__WEB", web)
            .output()
            .expect("the binary starts");
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{log}");
        assert!(log.contains("server.web") && log.contains(expected), "{log}");
    }
}
