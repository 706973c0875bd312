//! TLS in front of a MySQL server that has none. The protocol begins in plain text: the server greets, the client asks for TLS,
//! and what follows is encrypted. That request counts as a packet, so until the login is over numbers differ by one.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, Result, bail, ensure};
use rustls::ServerConfig;

use crate::progress::say;
use crate::tls_proxy::{CHUNK, CONNECT, SILENCE, Session};

/// `CLIENT_SSL`: in the greeting's lower capabilities and in the first four bytes of the client's answer.
const SSL: u8 = 0x08;
const OK: u8 = 0x00;
const ERROR: u8 = 0xFF;
/// More about the login that wants no answer of the client's: `fast auth succeeded`.
const FAST: [u8; 2] = [0x01, 0x03];

/// Listens on a free port, for as long as this process lives.
pub(crate) fn start(tls: Arc<ServerConfig>, upstream: SocketAddr) -> Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let tls = Arc::clone(&tls);
            thread::spawn(move || {
                if let Err(error) = serve(client, tls, upstream) {
                    say(format!("proxy {address}: {error:#}"));
                }
            });
        }
    });
    Ok(address)
}

fn serve(mut client: TcpStream, tls: Arc<ServerConfig>, upstream: SocketAddr) -> Result<()> {
    client.set_read_timeout(Some(SILENCE))?;
    client.set_nodelay(true)?;
    let mut server =
        TcpStream::connect_timeout(&upstream, CONNECT).with_context(|| format!("{upstream} behind it"))?;
    server.set_read_timeout(Some(SILENCE))?;
    server.set_nodelay(true)?;
    let mut greeting = Packet::read(&mut server)?;
    greeting.offer_tls()?;
    client.write_all(&greeting.bytes())?;
    let request = Packet::read(&mut client)?;
    if request.body.get(1).is_none_or(|flags| flags & SSL == 0) {
        // 1045 28000: what a server that requires TLS says.
        let mut refusal = vec![ERROR, 0x15, 0x04];
        refusal.extend(b"#28000Connections using insecure transport are prohibited");
        let number = request.number + 1;
        client.write_all(
            &Packet {
                number,
                body: refusal,
            }
            .bytes(),
        )?;
        bail!("a client without TLS");
    }
    let session = Session::new(client, tls)?;
    let mut inside = Inside {
        session: &session,
        ahead: Vec::new(),
    };
    if !log_in(&mut inside, &mut server)? {
        return Ok(session.close()?);
    }
    server.write_all(&inside.ahead)?;
    pass(&session, &server)
}

/// Whether the server let the client in.
fn log_in(inside: &mut Inside<'_>, server: &mut TcpStream) -> Result<bool> {
    let mut answer = Packet::read(inside)?;
    if let Some(flags) = answer.body.get_mut(1) {
        *flags &= !SSL;
    }
    answer.number -= 1;
    server.write_all(&answer.bytes())?;
    loop {
        let mut reply = Packet::read(server)?;
        let first = reply.body.first().copied();
        let final_word = !reply.body.starts_with(&FAST);
        reply.number += 1;
        inside.session.send(&reply.bytes())?;
        match first {
            Some(OK) => return Ok(true),
            Some(ERROR) | None => return Ok(false),
            // Another method, or another half of this one: the client answers.
            Some(_) if final_word => {
                let mut more = Packet::read(inside)?;
                more.number -= 1;
                server.write_all(&more.bytes())?;
            }
            Some(_) => {}
        }
    }
}

/// Both ways, until one side leaves.
fn pass(session: &Session, server: &TcpStream) -> Result<()> {
    thread::scope(|scope| {
        scope.spawn(|| {
            while let Ok(bytes) = session.receive() {
                if bytes.is_empty() || (&*server).write_all(&bytes).is_err() {
                    break;
                }
            }
            server.shutdown(std::net::Shutdown::Both).ok();
        });
        let mut bytes = vec![0; CHUNK];
        while let Ok(read @ 1..) = (&*server).read(&mut bytes) {
            session.send(&bytes[..read])?;
        }
        // Its other half, the thread above, ends with it.
        session.close().ok();
        Ok(())
    })
}

struct Packet {
    number: u8,
    body: Vec<u8>,
}

impl Packet {
    fn read(from: &mut impl io::Read) -> Result<Self> {
        let mut head = [0; 4];
        from.read_exact(&mut head)?;
        let length = u32::from_le_bytes([head[0], head[1], head[2], 0]);
        let mut body = vec![0; length as usize];
        from.read_exact(&mut body)?;
        Ok(Self {
            number: head[3],
            body,
        })
    }

    fn bytes(&self) -> Vec<u8> {
        let length = (self.body.len() as u32).to_le_bytes();
        let mut bytes = vec![length[0], length[1], length[2], self.number];
        bytes.extend(&self.body);
        bytes
    }

    /// In a greeting: protocol, version and its zero, connection, eight bytes of challenge, a zero, capabilities.
    fn offer_tls(&mut self) -> Result<()> {
        let version = self.body.iter().skip(1).position(|byte| *byte == 0);
        let capabilities = version.context("a greeting without a version")? + 2 + 4 + 8 + 1;
        ensure!(self.body.len() > capabilities + 1, "a short greeting");
        self.body[capabilities + 1] |= SSL;
        Ok(())
    }
}

/// What the client says inside TLS, as a stream.
struct Inside<'s> {
    session: &'s Session,
    ahead: Vec<u8>,
}

impl io::Read for Inside<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ahead.is_empty() {
            self.ahead = self.session.receive()?;
        }
        let read = self.ahead.len().min(buffer.len());
        buffer[..read].copy_from_slice(&self.ahead[..read]);
        self.ahead.drain(..read);
        Ok(read)
    }
}
