//! The `webrtc` crate's runtime, with sockets that hold a burst.

use std::{future::Future, io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use socket2::SockRef;
use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, Runtime, default_runtime,
};

/// Bytes that a socket should hold which the program has not taken yet: what a sender has under way at most, twice
/// over for what a system adds to every datagram. The usual 208 KiB overflow within one burst of a fast sender, and
/// then SCTP waits for its timers.
const RECEIVE_BUFFER: usize = 2 * 1024 * 1024;

/// The runtime that the crate finds by itself, which here is tokio's.
#[derive(Debug)]
pub(crate) struct Roomy(Arc<dyn Runtime>);

impl Roomy {
    /// `None` in a build of the crate without one.
    pub(crate) fn runtime() -> Option<Arc<dyn Runtime>> {
        Some(Arc::new(Self(default_runtime()?)))
    }
}

impl Runtime for Roomy {
    #[track_caller]
    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) -> Box<dyn JoinHandle> {
        self.0.spawn(future)
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        // A system that gives less loses datagrams earlier, and no more than that.
        let _ = SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER);
        self.0.wrap_udp_socket(socket)
    }

    fn wrap_tcp_listener(&self, listener: std::net::TcpListener) -> io::Result<Arc<dyn AsyncTcpListener>> {
        self.0.wrap_tcp_listener(listener)
    }

    fn connect_tcp<'a>(
        &'a self,
        remote_addr: SocketAddr,
    ) -> Pin<Box<dyn Future<Output = io::Result<Arc<dyn AsyncTcpStream>>> + Send + 'a>> {
        self.0.connect_tcp(remote_addr)
    }

    fn resolve_host<'a>(
        &'a self,
        host: &'a str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
        self.0.resolve_host(host)
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        self.0.sleep(duration)
    }

    fn interval(&self, period: Duration) -> Box<dyn AsyncInterval> {
        self.0.interval(period)
    }

    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        self.0.block_on(future);
    }
}
