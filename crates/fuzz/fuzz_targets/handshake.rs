//! Request heads: however they come in, they are read the same way, and an accepted one is understood by a client.
#![no_main]

use hub_ws::handshake::{Head, Upgrade, find_end, read_response};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let end = find_end(data, 0);
    for from in [1, data.len() / 2] {
        // Searching again from where an earlier search ended finds the same end.
        if end.is_some_and(|end| from + 4 <= end) {
            assert_eq!(find_end(data, from), end);
        }
    }
    match Head::read(data) {
        Ok(Some((head, len))) => {
            assert!(len <= data.len());
            let _ = (head.path(), head.body(), head.is_keep_alive());
            if let Ok(upgrade) = Upgrade::check(&head, &["socket-hub.v1"]) {
                let response = upgrade.response();
                // Nothing of the client's can break out of its line.
                assert_eq!(response.matches("\r\n\r\n").count(), 1);
                assert!(response.is_ascii());
                let _ = read_response(response.as_bytes(), [0; 16], None);
            }
            // Less of it is not a whole head.
            for cut in [1, len / 2, len - 1] {
                assert!(!matches!(Head::read(&data[..cut]), Ok(Some(_))));
            }
        }
        Ok(None) | Err(_) => {}
    }
});
