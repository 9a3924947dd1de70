//! The thread that follows what the processes of this machine do. A file on a dead mount takes forever, and nothing here
//! waits for it.

use std::io;
use std::thread;

use tokio::sync::mpsc::Sender;

use crate::capture::Orders;
use crate::model::Msg;
use crate::target::follow::first::First;
use crate::target::follow::follower::{Follower, News, Requests};
use crate::target::follow::watch::Watch;
use crate::target::registry::Registry;

/// The thread. It is not waited for at the end: it holds nothing that has to be given back.
pub struct Scanner {
    requests: Requests,
}

impl Scanner {
    /// Starts the thread; what it finds it reports to `replies`, and asks for probes at `ahead` at once. It looks first at
    /// the processes for which the user waits.
    ///
    /// # Errors
    ///
    /// When the thread cannot be started.
    pub fn start(
        registry: Registry,
        watch: Watch,
        first: First,
        replies: Sender<Msg>,
        ahead: Option<Orders>,
    ) -> io::Result<Self> {
        let mut follower = Follower::new(registry, watch)?;
        follower.look_first_at(first);
        let requests = follower.requests();
        thread::Builder::new().name("follow".to_owned()).spawn(move || {
            follower.run(|news| match news {
                News::Found(image) => {
                    let wanted = ahead.as_ref().filter(|_| image.may_be_attached());
                    let id = image.id;
                    // First: nobody hears of its sessions before he hears of it.
                    let is_told = replies.blocking_send(Msg::Found(image)).is_ok();
                    if let Some(orders) = wanted {
                        orders.attach_ahead(id);
                    }
                    is_told
                }
                News::Picture(scan) => replies.blocking_send(Msg::Scanned(scan)).is_ok(),
            });
        })?;
        Ok(Self { requests })
    }

    /// Asks for a look at everything.
    pub fn request(&self) {
        self.requests.sweep();
    }

    /// Asks for a report of what is known, which is soon there.
    pub fn report(&self) {
        self.requests.report();
    }
}
