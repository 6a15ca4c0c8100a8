//! For tests: a complete handshake in memory, and one byte each way through it.

use std::{
    io::{Read, Write},
    sync::Arc,
};

use rustls::{ClientConfig, ClientConnection, Error, ServerConfig, ServerConnection, pki_types::ServerName};

/// Both ends after a handshake that both accepted; else the first fault either met.
pub(crate) fn shake(
    client: Arc<ClientConfig>,
    name: ServerName<'static>,
    server: Arc<ServerConfig>,
) -> Result<(ClientConnection, ServerConnection), Error> {
    let mut client = ClientConnection::new(client, name)?;
    let mut server = ServerConnection::new(server)?;
    // With TLS 1.3 a client is done before the server has judged its certificate: a byte must come back, too.
    client.writer().write_all(b"?").expect("buffers");
    server.writer().write_all(b"!").expect("buffers");
    let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        while client.wants_write() {
            client.write_tls(&mut to_server).expect("memory");
        }
        let mut bytes = std::mem::take(&mut to_server);
        while !bytes.is_empty() {
            let taken = server.read_tls(&mut bytes.as_slice()).expect("memory");
            bytes.drain(..taken);
            server.process_new_packets()?;
        }
        while server.wants_write() {
            server.write_tls(&mut to_client).expect("memory");
        }
        let mut bytes = std::mem::take(&mut to_client);
        while !bytes.is_empty() {
            let taken = client.read_tls(&mut bytes.as_slice()).expect("memory");
            bytes.drain(..taken);
            client.process_new_packets()?;
        }
    }
    exchange(&mut client, &mut server, b'?', b'!');
    Ok((client, server))
}

/// Shows that an open connection still carries bytes both ways.
pub(crate) fn ping(client: &mut ClientConnection, server: &mut ServerConnection) {
    client.writer().write_all(b"a").expect("buffers");
    server.writer().write_all(b"b").expect("buffers");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("memory");
    server.read_tls(&mut bytes.as_slice()).expect("memory");
    server.process_new_packets().expect("open");
    bytes.clear();
    server.write_tls(&mut bytes).expect("memory");
    client.read_tls(&mut bytes.as_slice()).expect("memory");
    client.process_new_packets().expect("open");
    exchange(client, server, b'a', b'b');
}

fn exchange(client: &mut ClientConnection, server: &mut ServerConnection, from_client: u8, from_server: u8) {
    let mut byte = [0];
    server.reader().read_exact(&mut byte).expect("what the client wrote");
    assert_eq!(byte, [from_client]);
    client.reader().read_exact(&mut byte).expect("what the server wrote");
    assert_eq!(byte, [from_server]);
}
