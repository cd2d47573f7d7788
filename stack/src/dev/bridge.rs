//! A bridge: learning, flooding, its forwarding database (`net/bridge`).
