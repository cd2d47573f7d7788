//! Link-layer addresses of IP addresses: ARP, NDP, and the table of what they learned.
