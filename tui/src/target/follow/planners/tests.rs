use std::sync::mpsc;

use super::super::record::Mapped;
use super::*;

fn job(device: u32, inode: u64, length: u64, is_program: bool) -> Job {
    let file = FileKey { device: (device, 0), inode, generation: None };
    let mapped = Mapped { file, start: 0, length, path: "x".into() };
    let (is_named, since, stamp) = (false, None, None);
    let look = Look { pid: 1, mapped, is_program, is_named, since, stamp };
    Job { stage: Stage::Plan, ..Job::new(look) }
}

fn all<T: Send + 'static>(planners: &Planners<T>) -> Vec<(Job, Answer<T>)> {
    let mut done = Vec::new();
    let end = Instant::now() + Duration::from_secs(30);
    while planners.are_at(|_| true) && Instant::now() < end {
        done.extend(planners.take());
        thread::yield_now();
    }
    done
}

#[test]
fn a_mount_that_does_not_answer_holds_up_nothing_else() {
    let (_never, hangs) = mpsc::channel::<()>();
    let hangs = Mutex::new(hangs);
    let look_at = move |job: &Job, _: &Progress<'_>| {
        if job.look.mapped.file.device.0 == 9 {
            let _ = hangs.lock().unwrap().recv();
        }
        job.look.mapped.file.inode
    };
    let limits = [Duration::from_millis(50), Duration::from_secs(60)];
    let planners = Planners::with_limits(look_at, limits).unwrap();
    for inode in 0..200 {
        assert!(planners.submit(job(9, inode, 1, false)));
        assert!(planners.submit(job(1, inode, 1, false)));
    }
    let done = all(&planners);
    let stuck = done.iter().filter(|(_, answer)| matches!(answer, Answer::Stuck)).count();
    assert_eq!((done.len(), stuck), (400, 200));
    assert!(planners.shared.lock().stuck <= THREADS + DEAD as usize);
    // Known by now: not tried.
    assert!(planners.submit(job(9, 7, 1, false)));
    assert!(matches!(planners.take()[..], [(_, Answer::Stuck)]));
}

#[test]
fn a_file_that_takes_long_to_plan_is_not_stuck() {
    let (go, may_go) = mpsc::channel::<()>();
    let may_go = Mutex::new(may_go);
    let look_at = move |_: &Job, progress: &Progress<'_>| {
        progress.opened();
        may_go.lock().unwrap().recv().is_ok()
    };
    let limits = [Duration::ZERO, Duration::from_secs(600)];
    let planners = Planners::with_limits(look_at, limits).unwrap();
    planners.submit(job(1, 1, 1, false));
    while planners.patience().is_none_or(|left| left < Duration::from_secs(60)) {
        thread::yield_now();
    }
    assert!(planners.take().is_empty());
    go.send(()).unwrap();
    assert!(matches!(all(&planners)[..], [(_, Answer::Found(true))]));
}

#[test]
fn what_is_only_looked_at_does_not_wait_for_what_is_planned() {
    let (go, may_go) = mpsc::channel::<()>();
    let may_go = Mutex::new(may_go);
    let look_at = move |job: &Job, _: &Progress<'_>| {
        if matches!(job.stage, Stage::Plan) {
            let _ = may_go.lock().unwrap().recv();
        }
    };
    let planners = Planners::start(look_at).unwrap();
    for inode in 0..2 * THREADS as u64 {
        planners.submit(job(1, inode, 1, true));
    }
    while planners.waiting() > THREADS {
        thread::yield_now();
    }
    for inode in 20..30 {
        planners.submit(Job { stage: Stage::First, ..job(1, inode, LARGE, false) });
        let done = loop {
            let mut done = planners.take();
            if let Some(done) = done.pop() {
                break done;
            }
            thread::yield_now();
        };
        assert_eq!(done.0.look.mapped.file.inode, inode);
    }
    drop(go);
    assert_eq!(all(&planners).len(), 2 * THREADS);
}

#[test]
fn programs_and_small_files_go_first() {
    let (go, may_go) = mpsc::channel::<()>();
    let may_go = Mutex::new(may_go);
    let order = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&order);
    let look_at = move |job: &Job, _: &Progress<'_>| {
        seen.lock().unwrap().push(job.look.mapped.file.inode);
        let _ = may_go.lock().unwrap().recv();
    };
    let planners = Planners::start(look_at).unwrap();
    let began = || order.lock().unwrap().len();
    // All threads are busy, though only some with what is large.
    for inode in 0..THREADS as u64 + 1 {
        planners.submit(job(1, inode, LARGE, false));
    }
    planners.submit(job(1, 10, 1, false));
    while began() < THREADS {
        thread::yield_now();
    }
    for (inode, length, is_program) in [(20, 300, false), (21, 200, false), (22, 900, true)] {
        planners.submit(job(1, inode, length, is_program));
    }
    drop(go);
    all(&planners);
    let order = order.lock().unwrap().clone();
    assert!(order[..THREADS].contains(&10), "{order:?}");
    let place = |inode| order.iter().position(|found| *found == inode).unwrap();
    assert!(place(22) < place(21) || place(22).abs_diff(place(21)) == 1, "{order:?}");
    assert_eq!(order.len(), THREADS + 5);
}
