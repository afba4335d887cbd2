//! Posts on their way from a socket to the disk, which may be slow: they count against what the socket may have of them, and
//! against the memory of its address.

use std::sync::Arc;

use super::conn::Conn;
use crate::{error::ApiError, memory::Buffered};

/// What a socket may have under way without its address being charged: what somebody writes is far below it.
const UNCOUNTED: usize = 64 * 1024;

/// The envelopes of one post, from when they have been read until they are on disk or refused.
#[derive(Debug)]
pub(super) struct UnderWay {
    conn: Arc<Conn>,
    bytes: usize,
    held: Option<Buffered>,
}

impl UnderWay {
    /// `memory`: of the socket's address.
    pub(super) fn begin(conn: &Arc<Conn>, memory: &Buffered, bytes: usize) -> Result<Self, ApiError> {
        let all = conn.begin(bytes);
        let mut post = Self { conn: conn.clone(), bytes, held: None };
        if all > UNCOUNTED {
            post.held = Some(memory.more(bytes)?);
        }
        Ok(post)
    }

    /// They are on disk, or will never be; answers whom to tell.
    pub(super) fn end(self) -> Arc<Conn> {
        self.conn.clone()
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.conn.finish(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;

    #[tokio::test]
    async fn what_many_sockets_of_an_address_have_under_way_is_bounded() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let memory = Arc::new(Memory::default());
        let mine = memory.hold([192, 0, 2, 1].into());
        let mut under_way = Vec::new();
        let mut refused = None;
        for id in 0..100 {
            let tcp = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let conn = Arc::new(Conn::new(id, tcp));
            match UnderWay::begin(&conn, &mine, 1_000_000) {
                Ok(post) => under_way.push(post),
                Err(error) => {
                    assert!(error.retryable);
                    assert_eq!(conn.begin(0), 0, "what was refused is not under way");
                    UnderWay::begin(&conn, &mine, UNCOUNTED).expect("a little always is taken");
                    refused = Some(conn);
                    break;
                }
            }
        }
        assert_eq!(under_way.len(), 33, "as much as an address may have");
        let conn = refused.expect("a refusal");
        let other = memory.hold([192, 0, 2, 2].into());
        UnderWay::begin(&conn, &other, 1_000_000).expect("other addresses are not concerned");
        let written = under_way.remove(0).end();
        assert_eq!(written.begin(0), 0);
        UnderWay::begin(&conn, &mine, 1_000_000).expect("what is on disk makes room");
    }
}
