//! A proxy in the child that leads to one address only. libgit2 would look the host's name up again, and get
//! another answer than the one that was checked; through the tunnel it never looks.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
};

const HEAD_MAX: usize = 8192;

/// Answers the proxy's address. It lives as long as the process.
pub(super) fn open(host: &str, port: u16, to: SocketAddr) -> io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = format!("http://{}", listener.local_addr()?);
    let wanted = format!("CONNECT {host}:{port} ").to_ascii_lowercase();
    thread::Builder::new().spawn(move || {
        for client in listener.incoming().flatten() {
            let wanted = wanted.clone();
            // one at a time would do for libgit2, but a connection that it keeps must not block the next
            let _ = thread::Builder::new().spawn(move || serve(client, &wanted, to));
        }
    })?;
    Ok(address)
}

fn serve(mut client: TcpStream, wanted: &str, to: SocketAddr) -> io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == HEAD_MAX || client.read(&mut byte)? == 0 {
            return Ok(());
        }
        head.push(byte[0]);
    }
    if !String::from_utf8_lossy(&head).to_ascii_lowercase().starts_with(wanted) {
        // another host or port: a redirect
        return client.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    }
    let server = TcpStream::connect(to)?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let (from_client, to_server) = (client.try_clone()?, server.try_clone()?);
    thread::Builder::new().spawn(move || copy(&from_client, &to_server))?;
    copy(&server, &client);
    Ok(())
}

fn copy(mut from: &TcpStream, mut to: &TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}
