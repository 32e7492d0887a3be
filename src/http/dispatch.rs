//! Where each request goes: the host check, then ingest by its method and path alone, then the API's
//! router or the dashboard's. A panic on the way is the request's own: it is answered with a 500.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use axum::Router;
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::{Method, Request};
use tower::ServiceExt;

use crate::http::dashboard;
use crate::http::edge::Edge;
use crate::http::host::HostList;
use crate::http::ingest;
use crate::http::reply::{ApiError, NoAnswer};
use crate::http::route::{self, RouteOptions};

/// What answers the requests of one listener.
#[derive(Debug)]
pub(crate) struct Dispatch {
    edge: Arc<Edge>,
    hosts: HostList,
    router: Router,
    dashboard: Router,
}

/// A request's handler has panicked; the panic hook has logged why.
#[derive(Debug)]
struct Panicked;

impl Dispatch {
    /// Answers requests to `address` from `edge`.
    pub(crate) fn new(edge: Arc<Edge>, address: SocketAddr) -> Self {
        let hosts = HostList::new(address, &edge.options.hosts);
        let options = RouteOptions {
            metrics_open: edge.options.metrics_open,
            test_clock: edge.options.test_clock,
        };
        let router = route::all(options).into_router(&edge);
        let dashboard = dashboard::router(Arc::clone(&edge), router.clone());
        Self { edge, hosts, router, dashboard }
    }

    /// The answer to `request`.
    ///
    /// # Errors
    /// When nobody can say whether the request is applied, and its connection must close.
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Result<Response, NoAnswer> {
        let response = match guarded(self.route(request)).await {
            Ok(response) => response,
            Err(Panicked) => ApiError::internal().into_response(),
        };
        match response.extensions().get::<NoAnswer>() {
            None => Ok(response),
            Some(no_answer) => Err(*no_answer),
        }
    }

    async fn route(&self, request: Request<Incoming>) -> Response {
        if let Err(refused) = self.hosts.check(request.uri(), request.headers()) {
            return refused.into_response();
        }
        if request.method() == Method::POST && request.uri().path() == ingest::PATH {
            return ingest::ingest(&self.edge, request).await;
        }
        let for_people = dashboard::is_ours(request.uri());
        let service = if for_people { &self.dashboard } else { &self.router };
        let answered: Result<Response, Infallible> = service.clone().oneshot(request).await;
        let Ok(response) = answered;
        response
    }
}

/// What `future` gives, unless it panics.
async fn guarded<F: Future>(future: F) -> Result<F::Output, Panicked> {
    let mut future = pin!(future);
    std::future::poll_fn(|ctx| {
        // Safe to go on: after a panic the future is dropped and never polled again, and what
        // requests share is either atomic or behind the engine, which guards its own state.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(ctx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(_payload) => Poll::Ready(Err(Panicked)),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_its_own_future_alone() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let panicking = guarded(async {
                tokio::task::yield_now().await;
                panic!("expected by this test");
            });
            assert!(panicking.await.is_err());
            assert_eq!(guarded(async { 7 }).await.ok(), Some(7));
        });
    }
}
