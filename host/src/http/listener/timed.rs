//! A connection's bytes, which tell its progress. Under TLS one of these wraps what is encrypted and
//! tells what the socket takes, and another wraps what is decrypted and tells what the client says.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::progress::Progress;

/// Bytes that tell when some were read, when some were written, or both.
pub(super) struct Timed<S> {
    stream: S,
    progress: Arc<Progress>,
    tells_reads: bool,
    tells_writes: bool,
}

impl<S> Timed<S> {
    /// A connection without TLS.
    pub(super) fn plain(stream: S, progress: &Arc<Progress>) -> Self {
        Self { stream, progress: Arc::clone(progress), tells_reads: true, tells_writes: true }
    }

    /// The socket below TLS.
    pub(super) fn encrypted(stream: S, progress: &Arc<Progress>) -> Self {
        Self { tells_reads: false, ..Self::plain(stream, progress) }
    }

    /// What TLS makes of it.
    pub(super) fn decrypted(stream: S, progress: &Arc<Progress>) -> Self {
        Self { tells_writes: false, ..Self::plain(stream, progress) }
    }

    fn wrote<T>(&self, written: Poll<T>) -> Poll<T> {
        if self.tells_writes {
            self.progress.wrote(written.is_ready());
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if self.tells_reads && buf.filled().len() > before {
            self.progress.read_some();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
