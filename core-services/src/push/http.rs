//! Posts to push services (RFC 8030), never to addresses that are not public.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioExecutor;
use tower_service::Service;

use super::endpoint::Endpoints;

const CONNECT_MAX: Duration = Duration::from_secs(5);
const REQUEST_MAX: Duration = Duration::from_secs(15);
/// Connections without work are kept this long.
const IDLE_MAX: Duration = Duration::from_mins(1);
/// A push that its device does not fetch is thrown away after this, seconds.
const TTL_S: u32 = 24 * 3_600;

/// What a push service said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// It will deliver.
    Taken,
    /// There is no such subscription any more.
    Gone,
    /// Neither; the next message tries again.
    Failed,
}

/// Looks names up and leaves out what is not public, so that a name of somebody else's does not lead inside.
#[derive(Clone, Debug)]
struct Resolver {
    endpoints: Endpoints,
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let endpoints = self.endpoints;
        Box::pin(async move {
            let found = tokio::task::spawn_blocking(move || (name.as_str(), 0).to_socket_addrs()).await;
            let mut found: Vec<SocketAddr> = found.map_err(io::Error::other)??.collect();
            found.retain(|address| endpoints.allows(address.ip()));
            if found.is_empty() {
                return Err(io::Error::other("the name leads to no public address"));
            }
            Ok(found.into_iter())
        })
    }
}

/// The way to push services. Clones share their connections.
#[derive(Clone, Debug)]
pub(super) struct Poster {
    client: Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>,
}

impl Poster {
    /// Trusts the certificates that this machine trusts.
    pub(super) fn new(endpoints: Endpoints) -> io::Result<Self> {
        let mut connector = HttpConnector::new_with_resolver(Resolver { endpoints });
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(CONNECT_MAX));
        connector.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_native_roots()?
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_MAX)
            .build(connector);
        Ok(Self { client })
    }

    /// One push. Redirects are not followed.
    pub(super) async fn post(
        &self,
        endpoint: &str,
        authorization: &str,
        topic: &str,
        body: Vec<u8>,
    ) -> Answer {
        let request = Request::post(endpoint)
            .header("Authorization", authorization)
            .header("Content-Encoding", "aes128gcm")
            .header("Content-Type", "application/octet-stream")
            .header("TTL", TTL_S)
            .header("Urgency", "high")
            .header("Topic", topic)
            .body(Full::new(Bytes::from(body)));
        let Ok(request) = request else {
            return Answer::Failed;
        };
        let response = tokio::time::timeout(REQUEST_MAX, self.client.request(request)).await;
        match response {
            Ok(Ok(response)) => match response.status() {
                status if status.is_success() => Answer::Taken,
                StatusCode::NOT_FOUND | StatusCode::GONE => Answer::Gone,
                status => {
                    tracing::debug!(%status, "a push was refused");
                    Answer::Failed
                }
            },
            Ok(Err(error)) => {
                tracing::debug!(%error, "a push service was not reached");
                Answer::Failed
            }
            Err(_elapsed) => Answer::Failed,
        }
    }
}
