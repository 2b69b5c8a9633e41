/* A server with 32 free descriptors and 5,000 connection attempts a second for NEAP_TEST_SECONDS (1): who is connected is
   served, the server does next to nothing, tells of it once, and goes on as soon as there is room. */
#include "net.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    FREE = 32,
    RATE = 5000,
    KEPT = 64,  /* the flood's first connections, which stay: they take all descriptors */
    OPEN = 2000 /* of the others, at the same time */
};

static int64_t now_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * NT_SEC + ts.tv_nsec;
}

static int64_t cpu_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return ts.tv_sec * NT_SEC + ts.tv_nsec;
}

/* ---- The flood: a process of its own, whose descriptors are no matter ------------------------- */

static void attempt(int *fd, const neap_addr *addr) {
    if (*fd >= 0)
        close(*fd);
    *fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (*fd >= 0)
        (void)connect(*fd, (const struct sockaddr *)(const void *)addr->data, addr->len);
}

static void flood(const neap_addr *addr) {
    static int fds[KEPT + OPEN];
    int64_t begun = now_ns();
    int64_t made = 0;
    for (size_t i = 0; i < KEPT + OPEN; i++)
        fds[i] = -1;
    for (;;) {
        int64_t due = (now_ns() - begun) * RATE / NT_SEC;
        for (; made < due; made++)
            attempt(&fds[made < KEPT ? made : KEPT + made % OPEN], addr);
        usleep(1000);
    }
}

static pid_t flood_begin(const neap_addr *addr, const struct rlimit *limit) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        alarm(120);
        for (int fd = 3; fd < 256; fd++)
            close(fd); /* of the server, which would live on here */
        setrlimit(RLIMIT_NOFILE, limit);
        flood(addr);
    }
    return pid;
}

static void flood_end(pid_t pid) {
    int status;
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
}

/* ---- The server -------------------------------------------------------------------------------- */

typedef struct guests {
    neap_sock *socks[KEPT + FREE];
    int n;
} guests;

static void keep(neap_server *server, neap_sock *sock, const neap_addr *peer, void *user) {
    guests *g = user;
    (void)server;
    (void)peer;
    assert_true(g->n < KEPT + FREE);
    g->socks[g->n++] = sock;
}

/* Somebody who was there before, asking and answered all the time. */
typedef struct regular {
    neap_sock *sock;
    int client;
    int answered;
} regular;

static void ask(void *user) {
    regular *r = user;
    char byte;
    if (recv(r->client, &byte, 1, MSG_DONTWAIT) == 1)
        r->answered++;
    if (neap_sock_recv(r->sock, &byte, 1, NEAP_NOWAIT, NULL) == 1)
        assert_int_equal(neap_sock_send(r->sock, "y", 1, NEAP_NOWAIT, NULL), 1);
    assert_int_equal(send(r->client, "x", 1, MSG_NOSIGNAL), 1);
}

static struct rlimit limit_to(int free) {
    struct rlimit old, low;
    int top = fcntl(0, F_DUPFD_CLOEXEC, 0);
    assert_true(top >= 0);
    net_close(top);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    low = old;
    low.rlim_cur = (rlim_t)(top + free);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    return old;
}

static neap_server_metrics metrics_of(neap_server *server) {
    neap_server_metrics m;
    assert_true(neap_server_get_metrics(server, &m, sizeof m) > 0);
    return m;
}

static int seconds(void) {
    const char *text = getenv("NEAP_TEST_SECONDS");
    return text != NULL ? atoi(text) : 1;
}

static void run_for(int64_t ns) {
    for (int64_t end = now_ns() + ns; now_ns() < end;)
        assert_true(neap_loop_run_once(nt.loop, 10 * NT_MS) >= 0);
}

static void a_flood_without_descriptors_costs_little_and_harms_nobody_who_is_there(void **state) {
    (void)state;
    neap_addr any = net_loopback(), addr;
    neap_server *server = NULL;
    neap_handle *asking = NULL;
    guests g = {0};
    regular r = {0};
    assert_ok(neap_server_new(nt.loop, &any, 1, NULL, &server, NULL));
    assert_ok(neap_sock_local(neap_server_listener(server, 0), &addr));
    r.sock = net_tcp(&r.client);
    struct rlimit old = limit_to(FREE);
    assert_ok(neap_server_on_connection(server, keep, &g, NULL));
    nt_turn();
    pid_t pid = flood_begin(&addr, &old);
    for (int i = 0; metrics_of(server).shed == 0 && i < 10000; i++)
        assert_true(neap_loop_run_once(nt.loop, NT_MS) >= 0);
    assert_ok(neap_call_every(nt.loop, 0, 10 * NT_MS, ask, &r, NULL, &asking));

    neap_server_metrics before = metrics_of(server);
    uint64_t ticks = nt_metrics().ticks;
    int64_t cpu = cpu_ns(), begun = now_ns();
    run_for(seconds() * NT_SEC);
    int64_t took = now_ns() - begun;
    neap_server_metrics after = metrics_of(server);
    ticks = nt_metrics().ticks - ticks;
    cpu = cpu_ns() - cpu;

    printf("%d s: %llu shed, %llu turns of the server, %llu of the loop, %d answers, %.1f %% of a "
           "processor\n",
           seconds(), (unsigned long long)(after.shed - before.shed),
           (unsigned long long)(after.turns - before.turns), (unsigned long long)ticks, r.answered,
           100.0 * (double)cpu / (double)took);
    assert_true(after.shed > before.shed);
    assert_true(r.answered > 0);
    uint64_t backoffs = (uint64_t)(took / (100 * NT_MS)) + 1;
    assert_true(after.turns - before.turns <= 2 * backoffs);
    /* Beside the server's turns there are those of the timer that asks, and those that the test makes when nothing comes. */
    assert_true(ticks <= 2 * backoffs + (uint64_t)(took / (10 * NT_MS)) * 3 + 10);
    assert_int_equal(after.shortages, 1);
    (void)nt_claim(NEAP_REPORT_SHORTAGE);

    /* One goes: another comes at once, from the flood. */
    uint64_t accepted = after.accepted;
    net_end(g.socks[0]);
    g.socks[0] = g.socks[--g.n];
    for (int i = 0; metrics_of(server).accepted == accepted && i < 3000; i++)
        assert_true(neap_loop_run_once(nt.loop, NT_MS) >= 0);
    assert_true(metrics_of(server).accepted > accepted);
    flood_end(pid);

    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    neap_handle_cancel(asking);
    neap_handle_unref(asking);
    assert_int_equal(neap_server_abort(server), 1);
    while (g.n > 0)
        net_end(g.socks[--g.n]);
    nt_settle();
    neap_server_unref(server);
    net_end(r.sock);
    net_close(r.client);
}

NT_MAIN(NT_TEST(a_flood_without_descriptors_costs_little_and_harms_nobody_who_is_there))
