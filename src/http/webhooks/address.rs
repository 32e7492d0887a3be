//! Which addresses a message may be sent to: a pure question, asked of every address that a name stands
//! for, and of the one that is connected to.
//!
//! Whoever may make an endpoint makes this daemon send requests. It stands where the network trusts it, so
//! nothing but the public internet may be reached that way: no private network, no service of the machine
//! or the cloud.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IPv4 networks that are no part of the public internet, with what they are.
const REFUSED_V4: &[(Ipv4Addr, u32, &str)] = &[
    (Ipv4Addr::UNSPECIFIED, 8, "of this network"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "private"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "shared by a carrier"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, LOOPBACK),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "private"),
    // Where clouds answer their machines, outside every reserved network.
    (Ipv4Addr::new(168, 63, 129, 16), 32, "a cloud's own"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "reserved for protocols"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "for documentation"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "a relay's"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "private"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "for benchmarks"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "for documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "for documentation"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved"),
];

/// Networks within the public part of IPv6 that are no part of the public internet.
const REFUSED_V6: &[(Ipv6Addr, u32, &str)] = &[
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "reserved for protocols"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "for documentation"),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, "a relay's"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "for documentation"),
];

/// All that is given out for the public internet.
const PUBLIC_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// Where a network that has IPv6 alone shows the addresses of IPv4.
const TRANSLATED_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

const LOOPBACK: &str = "loopback";

/// Why nothing may be sent to `address`; nothing when it may. With `allow_loopback` the machine itself is
/// allowed too.
pub(super) fn refusal(address: IpAddr, allow_loopback: bool) -> Option<&'static str> {
    let refused = match address {
        IpAddr::V4(address) => refusal_v4(address),
        IpAddr::V6(address) => refusal_v6(address),
    };
    refused.filter(|reason| !(allow_loopback && *reason == LOOPBACK))
}

fn refusal_v4(address: Ipv4Addr) -> Option<&'static str> {
    let is_in = |network: Ipv4Addr, bits: u32| {
        let shift = Ipv4Addr::BITS - bits;
        address.to_bits() >> shift == network.to_bits() >> shift
    };
    let found = REFUSED_V4.iter().find(|(network, bits, _)| is_in(*network, *bits));
    found.map(|(_, _, reason)| *reason)
}

fn refusal_v6(address: Ipv6Addr) -> Option<&'static str> {
    let is_in = |network: Ipv6Addr, bits: u32| {
        let shift = Ipv6Addr::BITS - bits;
        address.to_bits() >> shift == network.to_bits() >> shift
    };
    if address == Ipv6Addr::LOCALHOST {
        return Some(LOOPBACK);
    }
    // What leads to an address of IPv4 is judged as that one.
    if let Some(mapped) = address.to_ipv4_mapped() {
        return refusal_v4(mapped);
    }
    if is_in(TRANSLATED_V6.0, TRANSLATED_V6.1) {
        let [.., a, b, c, d] = address.octets();
        return refusal_v4(Ipv4Addr::new(a, b, c, d));
    }
    if !is_in(PUBLIC_V6.0, PUBLIC_V6.1) {
        return Some("not public");
    }
    let found = REFUSED_V6.iter().find(|(network, bits, _)| is_in(*network, *bits));
    found.map(|(_, _, reason)| *reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First and last of each network, and what clouds and machines are known to answer at.
    const REFUSED: &str = "
        0.0.0.0 0.255.255.255 10.0.0.0 10.0.0.1 10.255.255.255 100.64.0.0 100.100.100.200
        100.127.255.255 168.63.129.16 169.254.0.0 169.254.169.254 169.254.170.2 169.254.255.255
        172.16.0.0 172.17.0.1 172.31.255.255 192.0.0.0 192.0.0.192 192.0.0.255 192.0.2.0 192.0.2.255
        192.88.99.0 192.88.99.1 192.168.0.0 192.168.1.1 192.168.255.255 198.18.0.0 198.19.255.255
        198.51.100.0 198.51.100.255 203.0.113.0 203.0.113.255 224.0.0.0 224.0.0.1 239.255.255.255
        240.0.0.0 255.255.255.254 255.255.255.255
        :: ::2 ::7f00:1 ::a00:1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:192.168.0.1 ::ffff:0.0.0.0
        ::ffff:0:127.0.0.1 64:ff9b::a00:1 64:ff9b::a9fe:a9fe 64:ff9b::c0a8:1 64:ff9b:1::1
        64:ff9b:1:ffff:ffff:ffff:ffff:ffff 100::1 2001::1 2001:0:7f00:1:: 2001:1::1 2001:1ff:ffff::1
        2001:db8::1 2001:db8:ffff:ffff:ffff:ffff:ffff:ffff 2002:7f00:1::1 2002:a00:1::1 2002::1
        3fff::1 3fff:fff:ffff::1 4000::1 5f00::1 8000::1 fc00::1 fd00::1 fd00:ec2::254 fd20:ce::254
        fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff fe80::1 fe80::a9fe:a9fe febf::1 fec0::1 ff00::1 ff02::1
        ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    const LOOPBACKS: &str =
        "127.0.0.0 127.0.0.1 127.1.2.3 127.255.255.255 ::1 ::ffff:127.0.0.1 64:ff9b::7f00:1";
    /// The neighbours of the refused networks, and some that are known.
    const ALLOWED: &str = "
        1.0.0.0 1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255
        128.0.0.0 168.63.129.15 168.63.129.17 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0
        191.255.255.255 192.0.1.0 192.0.3.0 192.88.98.255 192.88.100.0 192.167.255.255 192.169.0.0
        198.17.255.255 198.20.0.0 198.51.99.255 198.51.101.0 203.0.112.255 203.0.114.0 223.255.255.255
        ::ffff:8.8.8.8 64:ff9b::808:808 2000::1 2001:200::1 2001:4860:4860::8888 2001:db7:ffff::1
        2001:db9::1 2003::1 2606:4700:4700::1111 2a00:1450::1 3ffe:ffff::1 3fff:1000::1";

    fn addresses(texts: &str) -> Vec<IpAddr> {
        texts.split_whitespace().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn nothing_is_reached_but_the_public_internet() {
        let refused = addresses(REFUSED);
        assert!(refused.len() >= 60, "{}", refused.len());
        for address in refused {
            for allow_loopback in [false, true] {
                assert!(refusal(address, allow_loopback).is_some(), "{address}");
            }
        }
        for address in addresses(ALLOWED) {
            assert_eq!(refusal(address, false), None, "{address}");
        }
    }

    #[test]
    fn the_machine_itself_is_reached_where_that_is_allowed() {
        for address in addresses(LOOPBACKS) {
            assert_eq!(refusal(address, false), Some(LOOPBACK), "{address}");
            assert_eq!(refusal(address, true), None, "{address}");
        }
    }
}
