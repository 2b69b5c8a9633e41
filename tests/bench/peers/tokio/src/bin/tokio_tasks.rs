//! tokio's tasks on its scheduler of one thread. Cases: spawn, switch, futures, sleepers.
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::Mutex;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::yield_now;

const BATCH: usize = 1000;

static STARTED: AtomicUsize = AtomicUsize::new(0);
static ENDED: AtomicUsize = AtomicUsize::new(0);

/// Lets the others run until so many have counted themselves.
async fn until(counter: &AtomicUsize, count: usize) {
    while counter.load(Relaxed) < count {
        yield_now().await;
    }
    counter.store(0, Relaxed);
}

#[repr(C)]
struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

extern "C" {
    fn clock_gettime(clock: i32, time: *mut Timespec) -> i32;
}

fn cpu_ns() -> u64 {
    const PROCESS_CPUTIME: i32 = 2;
    let mut t = Timespec { seconds: 0, nanoseconds: 0 };
    unsafe { clock_gettime(PROCESS_CPUTIME, &mut t) };
    t.seconds as u64 * 1_000_000_000 + t.nanoseconds as u64
}

fn resident_bytes() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok()).unwrap_or(0.0) * 4096.0
}

fn print(figures: &[(&str, f64)]) {
    let parts: Vec<String> = figures.iter().map(|(n, v)| format!("\"{n}\": {v:.3}")).collect();
    println!("{{{}}}", parts.join(", "));
}

async fn spawn_finish(count: usize) -> f64 {
    let batches = count / BATCH + 1;
    let start = cpu_ns();
    for _ in 0..batches {
        for _ in 0..BATCH {
            tokio::spawn(async { ENDED.fetch_add(1, Relaxed) });
        }
        until(&ENDED, BATCH).await;
    }
    (cpu_ns() - start) as f64 / (batches * BATCH) as f64
}

async fn switch(count: usize, tasks: usize) -> f64 {
    let rounds = (count / tasks).max(10);
    let mut shots = Vec::new();
    let mut all = Vec::new();
    for _ in 0..tasks {
        let (shot, go) = oneshot::channel::<()>();
        shots.push(shot);
        all.push(tokio::spawn(async move {
            STARTED.fetch_add(1, Relaxed);
            let _ = go.await;
            for _ in 0..rounds {
                yield_now().await;
            }
        }));
    }
    until(&STARTED, tasks).await;
    for shot in shots {
        let _ = shot.send(());
    }
    let start = cpu_ns();
    for task in all {
        let _ = task.await;
    }
    (cpu_ns() - start) as f64 / (tasks * rounds) as f64
}

async fn switches(count: usize, many: usize) {
    let alone = (switch(count, 1).await, switch(count, 1000).await, switch(count, many).await);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    tokio::spawn(async move {
        let _ = listener.accept().await;
    });
    print(&[
        ("switch_1_ns", alone.0),
        ("switch_1000_ns", alone.1),
        ("switch_100000_ns", alone.2),
        ("switch_1_parked_ns", switch(count / 4, 1).await),
        ("switch_1000_parked_ns", switch(count, 1000).await),
        ("switch_100000_parked_ns", switch(count, many).await),
    ]);
}

static COMING: Mutex<Vec<Option<oneshot::Receiver<usize>>>> = Mutex::new(Vec::new());

fn fresh() -> Vec<oneshot::Sender<usize>> {
    let ends = (0..BATCH).map(|_| oneshot::channel());
    let (senders, receivers): (Vec<_>, Vec<_>) = ends.unzip();
    *COMING.lock().unwrap() = receivers.into_iter().map(Some).collect();
    senders
}

/// A thousand tasks wait on a thousand oneshot channels that were made beforehand; see futures.lua.
async fn resolve_resume(count: usize) -> f64 {
    let rounds = (count / BATCH).max(5);
    let mut spent = 0;
    let mut senders = fresh();
    for i in 0..BATCH {
        tokio::spawn(async move {
            for _ in 0..rounds {
                let receiver = COMING.lock().unwrap()[i].take().unwrap();
                STARTED.fetch_add(1, Relaxed);
                let _ = receiver.await;
                ENDED.fetch_add(1, Relaxed);
            }
        });
    }
    for _ in 0..rounds {
        until(&STARTED, BATCH).await;
        let waited = std::mem::replace(&mut senders, fresh());
        let start = cpu_ns();
        for (i, sender) in waited.into_iter().enumerate() {
            let _ = sender.send(i);
        }
        until(&ENDED, BATCH).await;
        spent += cpu_ns() - start;
    }
    spent as f64 / (rounds * BATCH) as f64
}

static BALL: Mutex<[Option<oneshot::Sender<usize>>; 2]> = Mutex::new([None, None]);

async fn player(mine: usize, rounds: usize) {
    for i in 0..rounds {
        let (sender, receiver) = oneshot::channel();
        let other = {
            let mut ball = BALL.lock().unwrap();
            ball[mine] = Some(sender);
            ball[1 - mine].take()
        };
        if let Some(other) = other {
            let _ = other.send(i);
        }
        let _ = receiver.await;
    }
    BALL.lock().unwrap()[1 - mine].take(); // dropping it wakes the other
}

async fn hop(count: usize) -> f64 {
    let rounds = count / 2 + 1;
    let start = cpu_ns();
    let first = tokio::spawn(player(0, rounds));
    let second = tokio::spawn(player(1, rounds));
    let _ = first.await;
    let _ = second.await;
    (cpu_ns() - start) as f64 / (rounds * 2) as f64
}

async fn sleepers(count: usize) -> f64 {
    let before = resident_bytes();
    for _ in 0..count {
        tokio::spawn(tokio::time::sleep(Duration::from_secs(1000)));
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    (resident_bytes() - before) / count as f64
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let scale: f64 = args.get(2).and_then(|s| s.parse().ok()).unwrap_or(1.0);
    let scaled = |count: usize| ((count as f64 * scale) as usize).max(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        match args[1].as_str() {
            "spawn" => print(&[("spawn_finish_ns", spawn_finish(scaled(1_000_000)).await)]),
            "switch" => switches(scaled(2_000_000), scaled(100_000)).await,
            "futures" => print(&[
                ("resolve_resume_ns", resolve_resume(scaled(1_000_000)).await),
                ("hop_ns", hop(scaled(1_000_000)).await),
            ]),
            "sleepers" => print(&[("sleeping_task_bytes", sleepers(scaled(100_000)).await)]),
            _ => {
                eprintln!("no such case");
                std::process::exit(2);
            }
        }
    });
    std::process::exit(0);
}
