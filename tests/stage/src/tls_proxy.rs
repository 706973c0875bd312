//! TLS, and on demand basic auth, in front of a server that has neither: as an ingress does it. One request for each
//! connection, so that the proxy reads heads and nothing else.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustls::{ServerConfig, ServerConnection};

use crate::progress::say;

pub(crate) const CONNECT: Duration = Duration::from_secs(5);
/// A client or server that is silent for so long has left.
pub(crate) const SILENCE: Duration = Duration::from_secs(120);
const LONGEST_HEAD: usize = 64 * 1024;
pub(crate) const CHUNK: usize = 64 * 1024;

/// What the proxy does beside TLS.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    /// The value of `Authorization` without which a request is answered 401.
    pub(crate) authorization: Option<String>,
    /// Texts to replace in the head of a response: a redirect must not lead out of TLS.
    pub(crate) rewrite: Option<(String, String)>,
}

/// Listens on a free port, for as long as this process lives.
pub(crate) fn start(tls: Arc<ServerConfig>, upstream: SocketAddr, rules: Rules) -> Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    let rules = Arc::new(rules);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (tls, rules) = (Arc::clone(&tls), Arc::clone(&rules));
            thread::spawn(move || {
                if let Err(error) = serve(client, tls, upstream, &rules) {
                    say(format!("proxy {address}: {error:#}"));
                }
            });
        }
    });
    Ok(address)
}

/// One side of TLS that two threads use: one reads from the socket, the other writes to it.
pub(crate) struct Session {
    socket: TcpStream,
    tls: Mutex<ServerConnection>,
}

impl Session {
    /// The handshake follows with the first bytes.
    pub(crate) fn new(socket: TcpStream, tls: Arc<ServerConfig>) -> Result<Self> {
        Ok(Self {
            socket,
            tls: Mutex::new(ServerConnection::new(tls)?),
        })
    }

    fn locked<T>(&self, act: impl FnOnce(&mut ServerConnection) -> io::Result<T>) -> io::Result<T> {
        act(&mut self.tls.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What the client sent next; empty when it has left.
    pub(crate) fn receive(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; CHUNK];
        loop {
            let read = (&self.socket).read(&mut bytes)?;
            let mut encrypted = &bytes[..read];
            let plain = self.locked(|tls| {
                let mut plain = Vec::new();
                while !encrypted.is_empty() {
                    tls.read_tls(&mut encrypted)?;
                    let state = tls.process_new_packets().map_err(io::Error::other)?;
                    let have = plain.len();
                    plain.resize(have + state.plaintext_bytes_to_read(), 0);
                    tls.reader().read_exact(&mut plain[have..])?;
                }
                self.flush(tls)?;
                Ok(plain)
            })?;
            if read == 0 || !plain.is_empty() {
                return Ok(plain);
            }
        }
    }

    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.locked(|tls| {
            for chunk in bytes.chunks(CHUNK) {
                tls.writer().write_all(chunk)?;
                self.flush(tls)?;
            }
            Ok(())
        })
    }

    pub(crate) fn close(&self) -> io::Result<()> {
        self.locked(|tls| {
            tls.send_close_notify();
            self.flush(tls)
        })?;
        self.socket.shutdown(Shutdown::Both)
    }

    fn flush(&self, tls: &mut ServerConnection) -> io::Result<()> {
        while tls.wants_write() {
            tls.write_tls(&mut &self.socket)?;
        }
        Ok(())
    }
}

fn serve(client: TcpStream, tls: Arc<ServerConfig>, upstream: SocketAddr, rules: &Rules) -> Result<()> {
    client.set_read_timeout(Some(SILENCE))?;
    client.set_nodelay(true)?;
    let session = Session::new(client, tls)?;
    let Some((head, rest)) = head(|| session.receive())? else {
        return Ok(());
    };
    let head = String::from_utf8_lossy(&head);
    if let Some(wanted) = &rules.authorization
        && header(&head, "authorization") != Some(wanted)
    {
        let refusal = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"stage\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        session.send(refusal.as_bytes())?;
        return Ok(session.close()?);
    }
    let mut server =
        TcpStream::connect_timeout(&upstream, CONNECT).with_context(|| format!("{upstream} behind it"))?;
    server.set_read_timeout(Some(SILENCE))?;
    server.write_all(closing(&head).as_bytes())?;
    server.write_all(&rest)?;
    thread::scope(|scope| {
        scope.spawn(|| {
            // Ends when the client has gone, which closing the session below brings about.
            while let Ok(bytes) = session.receive() {
                if bytes.is_empty() || (&server).write_all(&bytes).is_err() {
                    break;
                }
            }
        });
        let answered = answer(&server, &session, rules);
        session.close().ok();
        answered
    })
}

fn answer(mut server: &TcpStream, session: &Session, rules: &Rules) -> Result<()> {
    let mut bytes = vec![0; CHUNK];
    if let Some((from, to)) = &rules.rewrite {
        let mut next = || {
            let read = server.read(&mut bytes)?;
            Ok(bytes[..read].to_vec())
        };
        if let Some((head, rest)) = head(&mut next)? {
            session.send(String::from_utf8_lossy(&head).replace(from, to).as_bytes())?;
            session.send(&rest)?;
        }
    }
    loop {
        match server.read(&mut bytes)? {
            0 => return Ok(()),
            read => session.send(&bytes[..read])?,
        }
    }
}

/// Reads up to the end of a head; the second part is what came along behind it.
fn head(mut next: impl FnMut() -> io::Result<Vec<u8>>) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
    const END: &[u8] = b"\r\n\r\n";
    let mut bytes = Vec::new();
    loop {
        if let Some(at) = bytes.windows(END.len()).position(|window| window == END) {
            let rest = bytes.split_off(at + END.len());
            return Ok(Some((bytes, rest)));
        }
        let more = next()?;
        if more.is_empty() || bytes.len() > LONGEST_HEAD {
            return Ok(None);
        }
        bytes.extend(more);
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

/// The same head, asking the server to close the connection after its answer.
fn closing(head: &str) -> String {
    let kept = head.trim_end().lines().filter(|line| {
        let name = line.split(':').next().unwrap_or_default();
        !["connection", "keep-alive"]
            .iter()
            .any(|own| name.eq_ignore_ascii_case(own))
    });
    let lines: Vec<&str> = kept.chain(["Connection: close"]).collect();
    format!("{}\r\n\r\n", lines.join("\r\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::Tls;
    use rustls::pki_types::{CertificateDer, pem::PemObject as _};
    use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

    /// A server that answers one request for each connection with what it was asked, and redirects.
    fn upstream() -> Result<SocketAddr> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut reader = stream.try_clone().expect("a clone");
                let mut buffer = [0; 4096];
                let next = || {
                    let read = reader.read(&mut buffer)?;
                    Ok(buffer[..read].to_vec())
                };
                let (head, _) = head(next).expect("a head").expect("a request");
                let body = String::from_utf8_lossy(&head).replace("\r\n", "|");
                let answer = format!(
                    "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://be:1/x\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(answer.as_bytes()).ok();
            }
        });
        Ok(address)
    }

    fn ask(proxy: SocketAddr, tls: &Tls, authorization: &str) -> Result<String> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&tls.ca)?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connection = ClientConnection::new(Arc::new(config), "127.0.0.1".try_into()?)?;
        let mut stream = StreamOwned::new(connection, TcpStream::connect(proxy)?);
        write!(
            stream,
            "GET /a HTTP/1.1\r\nHost: x\r\nconnection: keep-alive\r\nAuthorization: {authorization}\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    #[test]
    fn requests_pass_with_the_right_password_and_redirects_stay_within_tls() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let tls = Tls::create(dir.path())?;
        let rules = Rules {
            authorization: Some("Basic cmlnaHQ=".into()),
            rewrite: Some(("http://be:1".into(), "https://be:2".into())),
        };
        let proxy = start(Arc::clone(&tls.server), upstream()?, rules)?;
        let answer = ask(proxy, &tls, "Basic cmlnaHQ=")?;
        assert!(
            answer.contains("Location: https://be:2/x\r\n") && answer.contains("GET /a HTTP/1.1|"),
            "{answer}"
        );
        assert!(
            answer.contains("Connection: close|") && !answer.contains("keep-alive"),
            "{answer}"
        );
        let refused = ask(proxy, &tls, "Basic d3Jvbmc=")?;
        assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
        Ok(())
    }
}
