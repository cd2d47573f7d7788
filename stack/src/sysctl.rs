//! The sysctls of a namespace: what of `net.*` changes a packet's way.
//!
//! Keys are as `sysctl` prints them (`net.ipv4.conf.eth0.rp_filter`; a dot in an interface's name is written `/`).
