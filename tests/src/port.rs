//! Ports on loopback that stay ours while what listens there is killed and started again.

use anyhow::Context as _;
use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    ops::Range,
};

/// Below those that the system gives to outgoing connections: one of them could take a port while its server is down.
const RANGE: Range<u16> = 10_000..32_000;
const TRIES: usize = 200;

/// A port for a server. The UDP socket of the same number keeps other tests away, and goes with the process.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _reservation: UdpSocket,
}

impl Port {
    pub fn pick() -> anyhow::Result<Self> {
        let candidates = (0..TRIES).map(|_| rand::random_range(RANGE));
        let free = |number| {
            let reservation = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
            TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
            Some(Self {
                number,
                _reservation: reservation,
            })
        };
        candidates.into_iter().find_map(free).context("no port is free")
    }

    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.number).into()
    }
}
