//! To this namespace: `ip_local_deliver`, `ip6_input`.
