//! A dummy device: has addresses, and swallows what is sent to it (`drivers/net/dummy.c`).

use crate::Cx;
use crate::skb::Skb;
use crate::trace::Record;

/// `dummy_xmit`: as good as sent.
pub(crate) fn xmit(cx: &mut Cx<'_>, skb: Skb) {
    let frame = cx.snap(skb.packet.bytes());
    cx.record(skb.id(), Record::Transmit { dev: skb.dev, frame });
    cx.recycle(skb.packet);
}
