//! A14 and A15: more connections than there is room for.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::time::Duration;

use crate::siege::Siege;
use crate::support::client::Client;
use crate::support::edge::program;
use crate::support::eventually;
use crate::support::tls::client_hello;

const FLOODER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));
const NEIGHBOUR: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 10));

fn try_upgrade(siege: &Siege, source: IpAddr) -> (Client, u16, String) {
    let mut client = Client::connect_from(source, siege.edge.address());
    let reply = client.upgrade("/v1/ws", "", b"");
    (client, reply.status, reply.head)
}

#[test]
fn a14_a_flood_of_connections_from_one_address() {
    let siege = Siege::start(&[
        ("LIMITS__CONNECTIONS_PER_ADDRESS", "50"),
        ("LIMITS__SESSION_OPEN_MS", "60000"),
    ]);
    let mut inside = Vec::new();
    let mut told = 0;
    for _ in 0..500 {
        let (client, status, head) = try_upgrade(&siege, FLOODER);
        match status {
            101 => inside.push(client),
            429 => {
                assert!(head.contains("\r\nRetry-After: "), "{head}");
                told += 1;
            }
            0 => {}
            other => panic!("{other}"),
        }
    }
    assert_eq!(inside.len(), 50);
    assert!(told > 0, "nobody was told why");
    let (_neighbour, status, _) = try_upgrade(&siege, NEIGHBOUR);
    assert_eq!(status, 101, "others still connect");
    siege
        .edge
        .metric_is("hub_edge_refused_connections_total", |count| count == 450);
    drop(inside);
    eventually("the address gets its room back", || {
        (try_upgrade(&siege, FLOODER).1 == 101).then_some(())
    });
    siege.end();
}

#[test]
fn a14_a_flood_of_handshakes() {
    let siege = Siege::start(&[
        ("LIMITS__HANDSHAKES_PER_SECOND", "5"),
        ("LIMITS__HANDSHAKES_BURST", "20"),
    ]);
    let mut refused = 0;
    for _ in 0..300 {
        let (_client, status, head) = try_upgrade(&siege, FLOODER);
        match status {
            101 => {}
            429 => {
                assert!(head.contains("\r\nRetry-After: "), "{head}");
                refused += 1;
            }
            0 => refused += 1,
            other => panic!("{other}"),
        }
    }
    assert!(
        refused > 0,
        "300 handshakes passed a burst of 20 on each of two shards"
    );
    siege
        .edge
        .metric_is("hub_edge_refused_connections_total", |count| count == refused);
    eventually("the rate lets somebody in again", || {
        (try_upgrade(&siege, NEIGHBOUR).1 == 101).then_some(())
    });
    siege.end();
}

#[test]
fn a14_a_flood_of_tls_handshakes() {
    let (siege, config) = Siege::with_tls(&[
        ("LIMITS__HANDSHAKES_PER_SECOND", "5"),
        ("LIMITS__HANDSHAKES_BURST", "20"),
        ("LIMITS__HANDSHAKE_MS", "1000"),
        ("LIMITS__CONNECTIONS_PER_ADDRESS", "0"),
    ]);
    let hello = client_hello(&config);
    // The server's part, with its signature, is what a handshake costs; none of these is ever finished.
    let mut flood: Vec<Client> = (0..500)
        .map(|_| {
            let mut client = Client::connect_from(FLOODER, siege.edge.address());
            client.write(&hello);
            client
        })
        .collect();
    let (mut refused, mut begun) = (0, 0);
    for client in &mut flood {
        // Either nothing and the end, or the server's part and its deadline.
        if client.is_closed() {
            refused += 1;
        } else {
            begun += 1;
            client.skip_to_end();
        }
    }
    assert!(
        refused > 400 && begun > 0,
        "{refused} refused and {begun} begun, with a burst of 20 on each of two shards"
    );
    siege
        .edge
        .metric_is("hub_edge_refused_connections_total", |count| count == refused);
    // Handshakes that were never finished are none.
    assert_eq!(
        siege.edge.metric("hub_edge_tls_handshakes_total"),
        1,
        "only the well-behaved client has finished one"
    );
    eventually("the rate lets somebody in again", || {
        let mut client = Client::connect_from(NEIGHBOUR, siege.edge.address()).secure(&config);
        (client.upgrade("/v1/ws", "", b"").status == 101).then_some(())
    });
    siege.end();
}

#[test]
fn a15_no_descriptors_are_left() {
    let mut limited = Command::new("prlimit");
    limited.arg("--nofile=80:80").arg(program());
    let siege = Siege::start_with(limited, &[("LIMITS__CONNECTIONS_PER_ADDRESS", "0")]);
    let quiet = ticks_in_two_seconds(&siege);
    let flood: Vec<Client> = (0..300).map(|_| siege.edge.connect()).collect();
    let busy = ticks_in_two_seconds(&siege);
    assert_eq!(siege.edge.admin("/healthz").0, 200, "operators still see it");
    // 100 ticks are a second of CPU time: 10 are 5 % of this time. A loop that spins takes 200, each.
    assert!(
        busy <= quiet + 10,
        "{busy} ticks instead of {quiet}: the accept loops spin"
    );
    drop(flood);
    eventually("the node takes connections again", || {
        let mut client = siege.edge.connect();
        (client.upgrade("/v1/ws", "", b"").status == 101).then_some(())
    });
    siege.end();
}

#[test]
fn a15_not_even_one_descriptor_is_left() {
    let siege = Siege::start(&[]);
    let quiet = ticks_in_two_seconds(&siege);
    // Below what is open already: every accept fails, and fails again.
    siege.edge.limit_descriptors(8);
    let mut waiting: Vec<Client> = (0..50).map(|_| siege.edge.connect()).collect();
    let starved = ticks_in_two_seconds(&siege);
    assert!(
        starved <= quiet + 10,
        "{starved} ticks instead of {quiet}: the accept loops spin"
    );
    siege.edge.limit_descriptors(1024);
    siege
        .edge
        .metric_is("hub_edge_accept_errors_total", |count| count > 0);
    for client in &mut waiting {
        assert_eq!(
            client.upgrade("/v1/ws", "", b"").status,
            101,
            "it only had to wait"
        );
    }
    siege.end();
}

fn ticks_in_two_seconds(siege: &Siege) -> u64 {
    let before = siege.edge.cpu_ticks();
    std::thread::sleep(Duration::from_secs(2));
    siege.edge.cpu_ticks() - before
}
