// Node's promises. Cases: spawn, switch, futures, timers, sleepers, stall. A task is an async function; a switch is an
// `await null`, which never reaches the event loop.
'use strict';
const fs = require('fs');
const net = require('net');

const kind = process.argv[2];
const scale = Number(process.argv[3] || 1);
const BATCH = 1000;
const scaled = (count) => Math.max(1, Math.floor(count * scale));

function cpuNs() {
    const used = process.cpuUsage();
    return (used.user + used.system) * 1000;
}

async function cost(operations, fn) {
    const start = cpuNs();
    await fn();
    return (cpuNs() - start) / operations;
}

function residentBytes() {
    return Number(fs.readFileSync('/proc/self/statm', 'utf8').split(' ')[1]) * 4096;
}

async function spawnFinish(count) {
    const batches = Math.ceil(count / BATCH);
    return cost(batches * BATCH, async () => {
        let finished = 0;
        const finish = () => { finished++; };
        for (let b = 1; b <= batches; b++) {
            for (let i = 0; i < BATCH; i++) Promise.resolve().then(finish);
            while (finished < b * BATCH) await null;
        }
    });
}

async function switchAmong(count, tasks) {
    const rounds = Math.max(10, Math.ceil(count / tasks));
    let go;
    const shot = new Promise((resolve) => { go = resolve; });
    const yielder = async () => {
        await shot;
        for (let r = 0; r < rounds; r++) await null;
    };
    const all = [];
    for (let i = 0; i < tasks; i++) all.push(yielder());
    return cost(tasks * rounds, async () => {
        go();
        await Promise.all(all);
    });
}

async function switches(count, many) {
    const figures = {};
    const sizes = [[1, 1], [1000, 1000], [100000, many]];
    for (const [name, tasks] of sizes) figures[`switch_${name}_ns`] = await switchAmong(count, tasks);
    const server = net.createServer();
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    for (const [name, tasks] of sizes) figures[`switch_${name}_parked_ns`] = await switchAmong(count, tasks);
    return figures;
}

function newFuture() {
    const future = {};
    future.promise = new Promise((resolve) => { future.resolve = resolve; });
    return future;
}

// A thousand tasks wait on a thousand promises that were made beforehand; see futures.lua.
async function resolveResume(count) {
    const rounds = Math.max(5, Math.floor(count / BATCH));
    const fresh = () => Array.from({ length: BATCH }, newFuture);
    let coming = fresh();
    let resumed = 0;
    let spent = 0;
    for (let i = 0; i < BATCH; i++) {
        (async () => {
            for (let r = 0; r < rounds; r++) {
                await coming[i].promise;
                resumed++;
            }
        })();
    }
    for (let r = 0; r < rounds; r++) {
        const waited = coming;
        coming = fresh();
        resumed = 0;
        const start = cpuNs();
        for (let i = 0; i < BATCH; i++) waited[i].resolve(i);
        while (resumed < BATCH) await null;
        spent += cpuNs() - start;
    }
    return spent / (rounds * BATCH);
}

async function hop(count) {
    const ball = [null, null];
    const rounds = Math.ceil(count / 2);
    const player = async (mine, other) => {
        for (let i = 0; i < rounds; i++) {
            ball[mine] = newFuture();
            if (ball[other]) ball[other].resolve(i);
            await ball[mine].promise;
        }
        ball[other].resolve(0);
    };
    return cost(rounds * 2, () => Promise.all([player(0, 1), player(1, 0)]));
}

async function timers(count) {
    const longest = Math.max(50, Math.floor(1000 * Math.min(1, scale)));
    const delay = () => 1 + Math.floor(Math.random() * longest);
    const addFire = () => cost(count, () => new Promise((resolve) => {
        let fired = 0;
        const fire = () => { if (++fired === count) resolve(); };
        for (let i = 0; i < count; i++) setTimeout(fire, delay());
    }));
    const addCancel = () => cost(count, () => {
        const added = [];
        for (let i = 0; i < count; i++) added.push(setTimeout(() => {}, delay()));
        for (const timer of added) clearTimeout(timer);
    });
    await addFire();
    await addCancel();
    return { add_fire_ns: await addFire(), add_cancel_ns: await addCancel() };
}

async function sleepers(count) {
    global.gc?.();
    const before = residentBytes();
    const sleeper = async () => { await new Promise((resolve) => setTimeout(resolve, 1000000)); };
    const all = [];
    for (let i = 0; i < count; i++) all.push(sleeper());
    await new Promise((resolve) => setTimeout(resolve, 100));
    return { sleeping_task_bytes: (residentBytes() - before) / all.length };
}

async function stall(parked) {
    const all = [];
    const sleeper = async () => { await new Promise((resolve) => setTimeout(resolve, 1000000)); };
    for (let i = 0; i < parked; i++) all.push(sleeper());
    const turns = [];
    const trash = [];
    let worst = 0;
    const now = () => Number(process.hrtime.bigint()) / 1e6;
    const began = now();
    let last = began;
    let cpu = cpuNs();
    while (last - began < 3000 * Math.min(1, scale)) {
        for (let i = 0; i < 64; i++) trash[i] = new Array(125).fill(last + i);
        await new Promise((resolve) => setTimeout(resolve, 1));
        const [time, used] = [now(), cpuNs()];
        worst = Math.max(worst, time - last - 1);
        turns.push((used - cpu) / 1e6);
        last = time;
        cpu = used;
    }
    turns.sort((a, b) => a - b);
    return {
        worst_stall_ms: worst,
        worst_turn_ms: turns[turns.length - 1],
        median_turn_ms: turns[turns.length >> 1],
        tasks: all.length,
    };
}

const cases = {
    spawn: async () => ({ spawn_finish_ns: await spawnFinish(scaled(1000000)) }),
    switch: () => switches(scaled(1000000), scaled(100000)),
    futures: async () => ({
        resolve_resume_ns: await resolveResume(scaled(500000)),
        hop_ns: await hop(scaled(1000000)),
    }),
    timers: () => timers(scaled(300000)),
    sleepers: () => sleepers(scaled(100000)),
    stall: () => stall(scaled(50000)),
};

cases[kind]().then((figures) => {
    delete figures.tasks;
    console.log(JSON.stringify(figures));
    process.exit(0);
});
