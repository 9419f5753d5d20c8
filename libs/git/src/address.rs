//! Which addresses may be dialled for a stranger: public ones, by the registries of IANA.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use super::GitRefused;

/// Every address of the host, if all of them may be dialled. Only these are: whoever owns the name could answer
/// otherwise the next time.
pub(super) fn resolve(host: &str, port: u16, allow_private: bool) -> Result<Vec<SocketAddr>, GitRefused> {
    let unreachable = |cause: &str| GitRefused::Unreachable {
        host: host.to_owned(),
        cause: cause.to_owned(),
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found = (bare, port).to_socket_addrs();
    let addresses: Vec<SocketAddr> = found.map_err(|_| unreachable("the name is not known"))?.collect();
    let allowed = |address: &SocketAddr| is_public(address.ip()) || (allow_private && is_private(address.ip()));
    if addresses.is_empty() {
        Err(unreachable("the name has no address"))
    } else if addresses.iter().all(allowed) {
        Ok(addresses)
    } else {
        Err(GitRefused::NotPublic { host: host.to_owned() })
    }
}

/// Of this machine or of the own network. Link-local ones are neither: clouds give out credentials there.
fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_loopback() || address.is_private(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local(),
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// `iana-ipv4-special-registry`, and what is no single host.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = matches!(
        (a, b, c),
        (0 | 10 | 127 | 224.., _, _)
            | (100, 64..128, _)
            | (169, 254, _)
            | (172, 16..32, _)
            | (192, 168, _)
            | (198, 18 | 19, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (198, 51, 100)
            | (203, 0, 113)
    );
    !special
}

/// `iana-ipv6-special-registry`: only `2000::/3` is given out, and of that not all; addresses that carry an IPv4
/// address are as public as that one.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let inner = || {
        let [.., first, second, third, fourth] = address.octets();
        is_public_v4(Ipv4Addr::new(first, second, third, fourth))
    };
    match (segments[0], segments[1]) {
        // mapped
        (0, 0) if segments[2..6] == [0, 0, 0, 0xffff] => inner(),
        // NAT64
        (0x64, 0xff9b) if segments[2..6] == [0; 4] => inner(),
        // protocol assignments (Teredo among them), documentation, 6to4
        (0x2001, ..0x200 | 0xdb8) | (0x2002, _) | (0x3fff, ..0x1000) => false,
        (0x2000..0x4000, _) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_network_can_be_allowed_and_nothing_else_with_it() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.1.1",
            "::1",
            "fd00::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(is_private(private.parse().unwrap()), "{private}");
        }
        for other in ["169.254.169.254", "fe80::1", "0.0.0.0", "224.0.0.1", "1.1.1.1"] {
            assert!(!is_private(other.parse().unwrap()), "{other}");
        }
    }

    #[test]
    fn only_public_addresses_pass() {
        for public in [
            "1.1.1.1",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        let special = [
            "0.0.0.0",
            "10.1.2.3",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "192.0.2.1",
            "198.18.0.1",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "fc00::1",
            "fd00::1",
            "fe80::1",
            "ff02::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2001::1",
            "3fff::1",
            "64:ff9b:1::1",
        ];
        for special in special {
            assert!(!is_public(special.parse().unwrap()), "{special}");
        }
    }

    #[test]
    fn a_host_that_is_this_machine_is_refused() {
        for host in ["127.0.0.1", "localhost", "[::1]", "0.0.0.0"] {
            let refused = resolve(host, 1, false).unwrap_err();
            assert_eq!(refused.reason(), "GIT_HOST_NOT_PUBLIC", "{host}");
        }
        assert_eq!(resolve("127.0.0.1", 1, true).unwrap(), ["127.0.0.1:1".parse().unwrap()]);
    }
}
