//! Uniform accessors over IPv4 and IPv6 headers in a frame.
