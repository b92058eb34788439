//! The listener: hyper's HTTP/1 behind an accept loop of our own.
//!
//! Invariants: every wait has a deadline (a head, a body, an answer, a reader that doesn't read,
//! the end); there are never more connections than the limit, and who comes beyond it is told so;
//! without file descriptors the loop rests instead of spinning.
//!
//! poem's own server closes none of half-sent heads, dripped heads and idle connections.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use poem::{
    Addr, Endpoint, Request, Response,
    http::uri::Scheme,
    web::{LocalAddr, RemoteAddr},
};
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::sync::CancellationToken;

use crate::http::{
    failure::Refusal,
    problem::{CONTENT_TYPE, RETRY_AFTER},
    stall::Stall,
};

/// The limits of the listener.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// The longest wait for the head of a request, between requests too.
    pub head_deadline: Duration,
    /// The longest time in which a caller may take nothing of its answer.
    pub write_stall: Duration,
    /// The largest head, in bytes.
    pub head_bytes: usize,
    /// How long running requests may go on after the stop.
    pub drain_deadline: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            head_deadline: Duration::from_secs(15),
            write_stall: Duration::from_secs(30),
            head_bytes: 64 * 1024,
            drain_deadline: Duration::from_secs(20),
        }
    }
}

/// How much of an answer may lie unsent in the kernel, in bytes. It would take megabytes for each
/// reader who doesn't read.
const UNSENT: u32 = 128 * 1024;

/// How many callers are told at the same time that there are too many.
const REFUSALS: usize = 64;

/// A bound socket.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds `address`; port 0 takes any free one.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`, then lets running requests finish within the drain deadline.
    pub async fn serve<E>(self, endpoint: E, limits: Limits, stop: CancellationToken)
    where
        E: Endpoint<Output = Response> + 'static,
    {
        let slots = Arc::new(Semaphore::new(limits.connections));
        let refusals = Arc::new(Semaphore::new(REFUSALS));
        let server = Server {
            endpoint: Arc::new(endpoint),
            local: self.address,
            stop: stop.clone(),
            kill: CancellationToken::new(),
            limits: Arc::new(limits),
        };
        while let Some((socket, remote)) = self.accept(&stop).await {
            // Small answers must not wait for an acknowledgement.
            let _ = socket.set_nodelay(true);
            let _ = SockRef::from(&socket).set_tcp_notsent_lowat(UNSENT);
            if let Ok(slot) = slots.clone().try_acquire_owned() {
                tokio::spawn(server.clone().connection(socket, remote, slot));
            } else if let Ok(slot) = refusals.clone().try_acquire_owned() {
                tokio::spawn(refuse(socket, slot));
            }
        }
        let Self { socket, .. } = self;
        drop(socket);
        let all = u32::try_from(server.limits.connections).unwrap_or(u32::MAX);
        let drained = tokio::time::timeout(server.limits.drain_deadline, slots.acquire_many(all));
        if drained.await.is_err() {
            tracing::warn!("some requests did not finish in time and were cut off");
        }
        server.kill.cancel();
    }

    /// The next connection; none once it is time to stop.
    async fn accept(&self, stop: &CancellationToken) -> Option<(TcpStream, SocketAddr)> {
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                accepted = self.socket.accept() => accepted,
            };
            match accepted {
                Ok(connection) => return Some(connection),
                Err(err) => {
                    tracing::warn!(error = %err, "accept failed");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
}

struct Server<E> {
    endpoint: Arc<E>,
    local: SocketAddr,
    stop: CancellationToken,
    kill: CancellationToken,
    limits: Arc<Limits>,
}

impl<E> Clone for Server<E> {
    fn clone(&self) -> Self {
        Self {
            endpoint: self.endpoint.clone(),
            local: self.local,
            stop: self.stop.clone(),
            kill: self.kill.clone(),
            limits: self.limits.clone(),
        }
    }
}

impl<E: Endpoint<Output = Response> + 'static> Server<E> {
    async fn connection(self, socket: TcpStream, remote: SocketAddr, _slot: OwnedSemaphorePermit) {
        let Self { endpoint, local, stop, kill, limits } = self;
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let endpoint = endpoint.clone();
            let addresses =
                (LocalAddr(Addr::SocketAddr(local)), RemoteAddr(Addr::SocketAddr(remote)));
            let request = Request::from((request, addresses.0, addresses.1, Scheme::HTTP));
            async move {
                let answer = endpoint.call(request).await;
                let response = answer.unwrap_or_else(|err| err.into_response());
                Ok::<_, Infallible>(hyper::Response::from(response))
            }
        });
        let socket = TokioIo::new(Stall::new(socket, limits.write_stall));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_deadline)
            .max_buf_size(limits.head_bytes)
            .serve_connection(socket, service);
        tokio::pin!(connection);
        // How a connection ends is its caller's affair; there is nothing to tell anyone.
        tokio::select! {
            _ = &mut connection => return,
            () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        tokio::select! {
            _ = connection => {}
            () = kill.cancelled() => {}
        }
    }
}

/// Says that there are too many connections, in HTTP, and hangs up.
async fn refuse(mut socket: TcpStream, _slot: OwnedSemaphorePermit) {
    let problem = Refusal::TooManyConnections.problem();
    let body = serde_json::to_string(&problem).unwrap_or_default();
    let text = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: {CONTENT_TYPE}\r\n\
         retry-after: {RETRY_AFTER}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let talk = async {
        socket.write_all(text.as_bytes()).await?;
        socket.shutdown().await?;
        // Closing with unread bytes would reset the connection and take the answer with it.
        let mut unread = [0; 1024];
        while socket.read(&mut unread).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), talk).await;
}
