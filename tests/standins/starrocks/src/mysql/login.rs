//! A refused login as StarRocks says it: error 1045.
//!
//! opensrv-mysql answers every failed login with error 1698 and a text of its own. Clients tell wrong credentials by 1045,
//! so the writer puts that packet in the place of opensrv's.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::io::AsyncWrite;

/// Set by the authentication when it refuses: the text of the error.
pub type Refusal = Arc<Mutex<Option<String>>>;

pub struct LoginWriter<W> {
    inner: W,
    refusal: Refusal,
    /// Our packet, and how much of it is written; `Some` means opensrv's bytes are dropped.
    packet: Option<(Vec<u8>, usize)>,
}

impl<W> LoginWriter<W> {
    pub fn new(inner: W, refusal: Refusal) -> Self {
        Self {
            inner,
            refusal,
            packet: None,
        }
    }
}

/// Code 1045, state 28000.
fn denied(sequence: u8, message: &str) -> Vec<u8> {
    let mut payload = vec![0xff, 0x15, 0x04, b'#'];
    payload.extend_from_slice(b"28000");
    payload.extend_from_slice(message.as_bytes());
    let length = u32::try_from(payload.len()).unwrap_or(0).to_le_bytes();
    let mut packet = vec![length[0], length[1], length[2], sequence];
    packet.extend(payload);
    packet
}

/// An error packet of code 1044, which stands for 5203, with the code it shall have. Header and payload may come in one
/// write or two.
fn renumbered(bytes: &[u8]) -> Option<Vec<u8>> {
    const STANDS_FOR_5203: [u8; 3] = [0xff, 0x14, 0x04];
    let at = [0, 4].into_iter().find(|at| {
        bytes
            .get(*at..at + 3)
            .is_some_and(|found| *found == STANDS_FOR_5203)
            && bytes.get(at + 3) == Some(&b'#')
    })?;
    let mut bytes = bytes.to_vec();
    bytes[at + 1..at + 3].copy_from_slice(&5203_u16.to_le_bytes());
    Some(bytes)
}

impl<W: AsyncWrite + Unpin> LoginWriter<W> {
    fn poll_packet(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some((packet, written)) = &mut self.packet
            && *written < packet.len()
        {
            match Pin::new(&mut self.inner).poll_write(cx, &packet[*written..]) {
                Poll::Ready(Ok(n)) => *written += n,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for LoginWriter<W> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.packet.is_some() {
            return Poll::Ready(Ok(bytes.len()));
        }
        let refused = self.refusal.lock().take();
        if let Some(message) = refused {
            // The fourth byte of a packet's header is its number.
            let sequence = bytes.get(3).copied().unwrap_or(2);
            self.packet = Some((denied(sequence, &message), 0));
            return Poll::Ready(Ok(bytes.len()));
        }
        match renumbered(bytes) {
            Some(bytes) => Pin::new(&mut self.inner).poll_write(cx, &bytes),
            None => Pin::new(&mut self.inner).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.poll_packet(cx) {
            Poll::Ready(Ok(())) => Pin::new(&mut self.inner).poll_flush(cx),
            other => other,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
