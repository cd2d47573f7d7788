//! Through this namespace: `ip_forward`, `ip6_forward`.
