//! What a system call, or a netlink request, fails with.

use std::fmt;

macro_rules! errnos {
    ($($name:ident = $number:literal, $symbol:literal, $text:literal;)*) => {
        /// An error number of Linux. `Display` is the text of `strerror`.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[allow(missing_docs, reason = "the names are those of errno(3)")]
        pub enum Errno { $($name,)* }

        impl Errno {
            /// Its number on x86-64.
            pub fn number(self) -> u16 {
                match self { $(Errno::$name => $number,)* }
            }

            /// Its symbol: `ECONNREFUSED`.
            pub fn symbol(self) -> &'static str {
                match self { $(Errno::$name => $symbol,)* }
            }

            /// The text of `strerror(3)`.
            pub fn text(self) -> &'static str {
                match self { $(Errno::$name => $text,)* }
            }
        }
    };
}

errnos! {
    Perm = 1, "EPERM", "Operation not permitted";
    NoEnt = 2, "ENOENT", "No such file or directory";
    Srch = 3, "ESRCH", "No such process";
    NoMem = 12, "ENOMEM", "Cannot allocate memory";
    Acces = 13, "EACCES", "Permission denied";
    Busy = 16, "EBUSY", "Device or resource busy";
    Exist = 17, "EEXIST", "File exists";
    NoDev = 19, "ENODEV", "No such device";
    Inval = 22, "EINVAL", "Invalid argument";
    Range = 34, "ERANGE", "Numerical result out of range";
    Loop = 40, "ELOOP", "Too many levels of symbolic links";
    NoNet = 64, "ENONET", "Machine is not on the network";
    Proto = 71, "EPROTO", "Protocol error";
    MsgSize = 90, "EMSGSIZE", "Message too long";
    NoProtoOpt = 92, "ENOPROTOOPT", "Protocol not available";
    OpNotSupp = 95, "EOPNOTSUPP", "Operation not supported";
    AddrInUse = 98, "EADDRINUSE", "Address already in use";
    AddrNotAvail = 99, "EADDRNOTAVAIL", "Cannot assign requested address";
    NetDown = 100, "ENETDOWN", "Network is down";
    NetUnreach = 101, "ENETUNREACH", "Network is unreachable";
    ConnReset = 104, "ECONNRESET", "Connection reset by peer";
    NoBufs = 105, "ENOBUFS", "No buffer space available";
    TimedOut = 110, "ETIMEDOUT", "Connection timed out";
    ConnRefused = 111, "ECONNREFUSED", "Connection refused";
    HostDown = 112, "EHOSTDOWN", "Host is down";
    HostUnreach = 113, "EHOSTUNREACH", "No route to host";
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}
