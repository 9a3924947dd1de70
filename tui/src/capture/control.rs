//! Attaching takes the kernel milliseconds (it visits every process that maps the file), so it is done
//! on a thread of its own.

use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use tokio::sync::mpsc::Sender;

use super::Probes;
use crate::model::Msg;
use crate::model::target::ImageId;
use crate::target::registry::ImageFiles;

/// Orders that can wait at a time: more images than any machine maps.
const QUEUE: usize = 8192;

enum Order {
    Attach(ImageId),
    Detach(ImageId),
}

/// The thread that attaches and detaches. Dropping it detaches everything and waits for that.
pub struct Control {
    orders: Option<SyncSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    /// Starts the thread; what it has done it reports to `replies`.
    ///
    /// # Errors
    ///
    /// When the thread cannot be started.
    pub fn start(
        mut probes: Probes,
        files: ImageFiles,
        replies: Sender<Msg>,
    ) -> std::io::Result<Self> {
        let (orders, inbox) = sync_channel(QUEUE);
        let thread = thread::Builder::new().name("attach".to_owned()).spawn(move || {
            while let Ok(order) = inbox.recv() {
                match order {
                    Order::Attach(image) => {
                        for msg in attach(&mut probes, &files, image) {
                            if replies.blocking_send(msg).is_err() {
                                return;
                            }
                        }
                    }
                    Order::Detach(image) => probes.detach(image),
                }
            }
        })?;
        Ok(Self { orders: Some(orders), thread: Some(thread) })
    }

    /// Asks for the probes of an image. `false`: too much is waiting already.
    pub fn attach(&self, image: ImageId) -> bool {
        self.send(Order::Attach(image))
    }

    /// Asks for the probes of an image to be removed. `false`: too much is waiting already.
    pub fn detach(&self, image: ImageId) -> bool {
        self.send(Order::Detach(image))
    }

    fn send(&self, order: Order) -> bool {
        let sent = self.orders.as_ref().map(|orders| orders.try_send(order));
        !matches!(sent, None | Some(Err(TrySendError::Full(_) | TrySendError::Disconnected(_))))
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // A panic there was reported by the panic hook already.
            let _ = thread.join();
        }
    }
}

fn attach(probes: &mut Probes, files: &ImageFiles, image: ImageId) -> Vec<Msg> {
    let Some((file, plan)) = files.get(image) else {
        let result = Err("the image is not known any more".to_owned());
        return vec![Msg::Attached { image, result }];
    };
    let attached = probes.attach(image, &file, &plan);
    let problems: Vec<String> = attached.problems.iter().map(ToString::to_string).collect();
    if attached.probes == 0 {
        let result = Err(problems.join("; "));
        return vec![Msg::Attached { image, result }];
    }
    // A part of a plan that failed is told, and does not undo the rest.
    let mut messages = vec![Msg::Attached { image, result: Ok(attached.probes) }];
    if !problems.is_empty() {
        messages.push(Msg::Warning(problems.join("; ")));
    }
    messages
}
