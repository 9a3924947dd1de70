//! Attaching takes the kernel milliseconds (it visits every process that maps the file), so it is done
//! on a thread of its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{
    Receiver as Inbox, RecvTimeoutError, SyncSender, TrySendError, sync_channel,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{Receiver, channel};
use tracing::debug;

use super::warm::{BURST, PAUSE};
use super::{CaptureError, Probes};
use crate::clock::boot_time;
use crate::model::Msg;
use crate::model::target::ImageId;
use crate::priority;
use crate::target::registry::ImageFiles;
use crate::target::{process, sockets};

/// Orders that can wait at a time: more images than are known at a time.
const QUEUE: usize = 8192;
/// Replies that can wait at a time; the thread waits for the loop when there are more.
const REPLIES: usize = 256;

#[derive(Clone, Copy)]
enum Order {
    Attach(ImageId),
    /// The same for an image that is just found, before anybody decided on it.
    AttachAhead(ImageId),
    /// Whether that is to be done from now on.
    Ahead(bool),
    Detach(ImageId),
    CatchUp(u32, ImageId),
    CaughtUp(u32, ImageId),
    /// From the thread itself, while it waits for more to attach.
    KeepWarm,
    /// The same, when it waited for long enough.
    CoolDown,
}

impl Order {
    fn is_attach(self) -> bool {
        matches!(self, Self::Attach(_) | Self::AttachAhead(_))
    }
}

/// The thread that attaches and detaches. Dropping it leaves out the orders that wait, detaches
/// everything, and waits for that.
pub struct Control {
    orders: Orders,
    replies: Receiver<Msg>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    /// Starts the thread; what it has done is told by [`Control::reply`].
    ///
    /// # Errors
    ///
    /// When the thread cannot be started.
    pub fn start(mut probes: Probes, files: ImageFiles) -> std::io::Result<Self> {
        let mut is_ahead = false;
        Self::spawn(move |order, stop| match order {
            Order::AttachAhead(image) => {
                if is_ahead {
                    attach_ahead(&mut probes, &files, image, stop);
                }
                Vec::new()
            }
            Order::Ahead(is_wanted) => {
                is_ahead = is_wanted;
                if !is_wanted {
                    probes.detach_undecided();
                }
                Vec::new()
            }
            Order::Attach(image) => attach(&mut probes, &files, image, stop),
            Order::Detach(image) => {
                probes.detach(image);
                Vec::new()
            }
            Order::CatchUp(pid, image) => {
                let result = catch_up(&mut probes, &files, pid, image);
                vec![Msg::CatchingUp { pid, image, result }]
            }
            Order::CaughtUp(pid, image) => {
                probes.caught_up(pid, image);
                Vec::new()
            }
            Order::KeepWarm => {
                probes.keep_warm();
                Vec::new()
            }
            Order::CoolDown => {
                probes.cool_down();
                Vec::new()
            }
        })
    }

    fn spawn(
        mut carry_out: impl FnMut(Order, &AtomicBool) -> Vec<Msg> + Send + 'static,
    ) -> std::io::Result<Self> {
        let (orders, inbox) = sync_channel(QUEUE);
        let (sender, replies) = channel(REPLIES);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new().name("attach".to_owned()).spawn(move || {
            priority::immediate();
            let mut warm_until = None;
            while let Some(order) = next(&inbox, &mut warm_until) {
                // A closed channel still delivers what was in it.
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                for msg in carry_out(order, &stopped) {
                    if sender.blocking_send(msg).is_err() {
                        return;
                    }
                }
            }
        })?;
        let orders = Orders(Arc::new(Mutex::new(Some(orders))));
        Ok(Self { orders, replies, stop, thread: Some(thread) })
    }

    /// Waits for what was done; `None` when the thread has ended. Cancel-safe.
    pub async fn reply(&mut self) -> Option<Msg> {
        self.replies.recv().await
    }

    /// Asks for the probes of an image. `false`: too much is waiting already.
    pub fn attach(&self, image: ImageId) -> bool {
        self.orders.send(Order::Attach(image))
    }

    /// Asks for the probes of an image to be removed. `false`: too much is waiting already.
    pub fn detach(&self, image: ImageId) -> bool {
        self.orders.send(Order::Detach(image))
    }

    /// Asks for probes on the reads and writes of one process. `false`: too much is waiting already.
    pub fn catch_up(&self, pid: u32, image: ImageId) -> bool {
        self.orders.send(Order::CatchUp(pid, image))
    }

    /// Asks for these probes to be removed. `false`: too much is waiting already.
    pub fn caught_up(&self, pid: u32, image: ImageId) -> bool {
        self.orders.send(Order::CaughtUp(pid, image))
    }

    /// Whether images are attached as [`Orders::attach_ahead`] asks. When it ends, those that nobody decided on are
    /// detached. `false`: too much is waiting already.
    pub fn set_ahead(&self, is_wanted: bool) -> bool {
        self.orders.send(Order::Ahead(is_wanted))
    }

    /// For those who find images.
    pub fn orders(&self) -> Orders {
        self.orders.clone()
    }
}

/// Where orders are given. Nothing is done any more once the [`Control`] is dropped.
#[derive(Clone, Debug)]
pub struct Orders(Arc<Mutex<Option<SyncSender<Order>>>>);

impl Orders {
    /// Asks for the probes of an image that was found this moment: the loop, which decides on it, may be busy for longer
    /// than a process lives. What it says next, [`Control::attach`] or [`Control::detach`], counts.
    pub fn attach_ahead(&self, image: ImageId) {
        self.send(Order::AttachAhead(image));
    }

    fn lock(&self) -> MutexGuard<'_, Option<SyncSender<Order>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, order: Order) -> bool {
        let sent = self.lock().as_ref().map(|orders| orders.try_send(order));
        !matches!(sent, None | Some(Err(TrySendError::Full(_) | TrySendError::Disconnected(_))))
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        *self.orders.lock() = None;
        // Nobody reads replies while we wait here: the thread must not wait for that.
        self.replies.close();
        if let Some(thread) = self.thread.take() {
            // A panic there was reported by the panic hook already.
            let _ = thread.join();
        }
    }
}

/// The next thing to do; `None` when nobody asks any more.
fn next(inbox: &Inbox<Order>, warm_until: &mut Option<Instant>) -> Option<Order> {
    let Some(until) = *warm_until else {
        let order = inbox.recv().ok()?;
        *warm_until = order.is_attach().then(|| Instant::now() + BURST);
        return Some(order);
    };
    match inbox.recv_timeout(PAUSE) {
        Ok(order) => {
            if order.is_attach() {
                *warm_until = Some(Instant::now() + BURST);
            }
            Some(order)
        }
        Err(RecvTimeoutError::Timeout) if Instant::now() < until => Some(Order::KeepWarm),
        Err(RecvTimeoutError::Timeout) => {
            *warm_until = None;
            Some(Order::CoolDown)
        }
        Err(RecvTimeoutError::Disconnected) => None,
    }
}

fn attach_ahead(probes: &mut Probes, files: &ImageFiles, image: ImageId, stop: &AtomicBool) {
    let Some((file, plan)) = files.get(image) else { return };
    let attached = probes.attach_ahead(image, &file, &plan, stop);
    if attached.is_some() {
        tell_delay(files, image);
    }
}

fn tell_delay(files: &ImageFiles, image: ImageId) {
    if let Some(since) = files.take_first_mapping(image) {
        let took = Duration::from_nanos(boot_time().saturating_sub(since));
        debug!(?image, "attached {took:?} after its first mapping");
    }
}

fn attach(probes: &mut Probes, files: &ImageFiles, image: ImageId, stop: &AtomicBool) -> Vec<Msg> {
    let Some((file, plan)) = files.get(image) else {
        let result = Err("the image is not known any more".to_owned());
        return vec![Msg::Attached { image, result }];
    };
    let started = Instant::now();
    let attached = probes.attach(image, &file, &plan, stop);
    debug!(?image, probes = attached.probes, "attached in {:?}", started.elapsed());
    tell_delay(files, image);
    let problems: Vec<String> = attached.problems.iter().map(ToString::to_string).collect();
    if attached.probes == 0 {
        let result = Err(problems.join("; "));
        let is_refused = attached.problems.iter().all(CaptureError::is_refused_probe);
        let refused = (is_refused && !problems.is_empty()).then_some(Msg::Refused(image));
        return refused.into_iter().chain([Msg::Attached { image, result }]).collect();
    }
    // A part of a plan that failed is told, and does not undo the rest.
    let mut messages = vec![Msg::Attached { image, result: Ok(attached.probes) }];
    if !problems.is_empty() {
        messages.push(Msg::Warning(problems.join("; ")));
    }
    messages
}

/// The number of connections that the process has open; it is only attached to if there are any.
fn catch_up(
    probes: &mut Probes,
    files: &ImageFiles,
    pid: u32,
    image: ImageId,
) -> Result<Option<usize>, String> {
    let Some((file, plan)) = files.get(image) else {
        return Ok(Some(0));
    };
    let connections = match sockets::open_connections(pid) {
        Ok(Some(0)) => return Ok(Some(0)),
        Ok(connections) => connections,
        Err(_) if !process::exists(pid) => return Ok(Some(0)),
        // It cannot be told; then it ends with its time.
        Err(_) => None,
    };
    match probes.catch_up(pid, image, &file, &plan) {
        Err(_) if !process::exists(pid) => Ok(Some(0)),
        Err(problem) => Err(problem.to_string()),
        Ok(()) => Ok(connections),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    /// Drops it on a thread of its own, so that a deadlock fails the test instead of hanging it.
    fn drop_in_time(control: Control) {
        let (done, ended) = mpsc::channel();
        thread::spawn(move || {
            drop(control);
            let _ = done.send(());
        });
        ended.recv_timeout(Duration::from_secs(20)).expect("the thread is still waited for");
    }

    #[test]
    fn replies_that_nobody_reads_do_not_hold_up_the_end() {
        let told = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&told);
        let control = Control::spawn(move |_, _| {
            count.fetch_add(1, Ordering::SeqCst);
            vec![Msg::Tick]
        })
        .unwrap();
        for image in 0..2 * REPLIES as u32 {
            assert!(control.attach(ImageId(image)));
        }
        while told.load(Ordering::SeqCst) <= REPLIES {
            thread::yield_now();
        }
        drop_in_time(control);
        assert_eq!(told.load(Ordering::SeqCst), REPLIES + 1);
    }

    #[test]
    fn orders_that_wait_are_left_out_at_the_end() {
        let (started, has_started) = mpsc::channel();
        let orders = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&orders);
        let control = Control::spawn(move |_, stop| {
            count.fetch_add(1, Ordering::SeqCst);
            let _ = started.send(());
            while !stop.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            Vec::new()
        })
        .unwrap();
        for image in 0..100 {
            assert!(control.attach(ImageId(image)));
        }
        has_started.recv().unwrap();
        drop_in_time(control);
        assert_eq!(orders.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn what_was_done_is_told_in_order() {
        let mut control = Control::spawn(|order, _| match order {
            Order::Attach(image) => vec![Msg::Attached { image, result: Ok(1) }],
            _ => Vec::new(),
        })
        .unwrap();
        assert!(control.attach(ImageId(1)) && control.detach(ImageId(1)));
        assert!(control.attach(ImageId(2)));
        for expected in [1, 2] {
            match control.reply().await {
                Some(Msg::Attached { image, .. }) => assert_eq!(image, ImageId(expected)),
                other => panic!("{other:?}"),
            }
        }
    }
}
