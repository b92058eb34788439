//! What systemd, or another supervisor that sets `NOTIFY_SOCKET`, is told of a service: the protocol
//! of `sd_notify`. So a start is over when questions are answered, not when the process exists.

use std::{
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

/// A supervisor that doesn't read must not keep the service.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the supervisor should know.
#[derive(Debug, Clone, Copy)]
pub enum News {
    Ready,
    Stopping,
}

/// Tells it, if there is one. Failing to is no reason to end.
pub fn tell(news: News) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&socket, news) {
        tracing::warn!(%error, ?news, "the supervisor can't be told");
    }
}

fn send(socket: &OsStr, news: News) -> io::Result<()> {
    // One that begins with @ is a name, not a path.
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    let line = match news {
        News::Ready => "READY=1",
        News::Stopping => "STOPPING=1",
    };
    let sender = UnixDatagram::unbound()?;
    sender.set_write_timeout(Some(PATIENCE))?;
    sender.send_to_addr(line.as_bytes(), &address)?;
    Ok(())
}
