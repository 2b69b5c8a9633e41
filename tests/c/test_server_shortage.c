/* When a server cannot accept: connections are shed or wait, what is open goes on, one report per episode, and it neither spins
   nor sleeps too long. */
#include "net.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- Help ------------------------------------------------------------------------------------- */

enum {
    CONNS_MAX = 64
};

typedef struct shop {
    neap_server *server;
    neap_addr addr;
    neap_sock *conns[CONNS_MAX];
    int n;
} shop;

static void keep(neap_server *server, neap_sock *sock, const neap_addr *peer, void *user) {
    shop *s = user;
    (void)server;
    (void)peer;
    assert_true(s->n < CONNS_MAX);
    s->conns[s->n++] = sock;
}

static void begin(shop *s, uint32_t flags) {
    neap_addr any = net_loopback();
    const neap_server_options o = {.size = sizeof o, .flags = flags};
    *s = (shop){0};
    assert_ok(neap_server_new(nt.loop, &any, 1, &o, &s->server, NULL));
    assert_ok(neap_server_on_connection(s->server, keep, s, NULL));
    assert_ok(neap_sock_local(neap_server_listener(s->server, 0), &s->addr));
    nt_settle();
}

static void end(shop *s) {
    while (s->n > 0)
        net_end(s->conns[--s->n]);
    assert_true(neap_server_abort(s->server) >= 0);
    nt_settle();
    assert_int_equal(neap_server_state(s->server), NEAP_SERVER_CLOSED);
    neap_server_unref(s->server);
}

static neap_server_metrics metrics_of(shop *s) {
    neap_server_metrics m;
    assert_true(neap_server_get_metrics(s->server, &m, sizeof m) > 0);
    return m;
}

/* A limit on descriptors, which leaves `free` of them.  The clients are made before: they need some, too. */
typedef struct famine {
    struct rlimit old;
    int fds[128];
    int n;
} famine;

static void famine_begin(famine *f, int free) {
    struct rlimit low;
    int top = fcntl(0, F_DUPFD_CLOEXEC, 0);
    assert_true(top >= 0);
    net_close(top);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &f->old), 0);
    low = f->old;
    low.rlim_cur = (rlim_t)top + 64;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    f->n = 0;
    int fd;
    while ((fd = fcntl(0, F_DUPFD_CLOEXEC, 0)) >= 0) {
        assert_true(f->n < 128);
        f->fds[f->n++] = fd;
    }
    for (int i = 0; i < free; i++)
        net_close(f->fds[--f->n]);
}

static void famine_end(famine *f) {
    while (f->n > 0)
        net_close(f->fds[--f->n]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &f->old), 0);
}

/* Sockets that connect later, without a new descriptor. */
static void make_clients(int *clients, int n) {
    for (int i = 0; i < n; i++) {
        clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(clients[i] >= 0);
        net_bound(clients[i]);
    }
}

static void join(shop *s, const int *clients, int n) {
    for (int i = 0; i < n; i++)
        assert_int_equal(connect(clients[i], (struct sockaddr *)(void *)s->addr.data, s->addr.len),
                         0);
}

static void close_clients(const int *clients, int n) {
    for (int i = 0; i < n; i++)
        net_close(clients[i]);
}

/* Turns that may wait, until the condition holds. */
#define UNTIL(condition)                                           \
    do {                                                           \
        for (int i_ = 0; !(condition) && i_ < 10000; i_++)         \
            assert_true(neap_loop_run_once(nt.loop, NT_SEC) >= 0); \
        assert_true(condition);                                    \
    } while (0)

/* ---- Shedding --------------------------------------------------------------------------------- */

static void without_descriptors_connections_are_closed_at_once(void **state) {
    (void)state;
    shop s;
    famine f;
    int clients[8];
    begin(&s, 0);
    make_clients(clients, 8);
    famine_begin(&f, 3);
    join(&s, clients, 8);
    UNTIL(metrics_of(&s).shed == 5);
    assert_int_equal(s.n, 3);
    for (int i = 3; i < 8; i++)
        net_expect_eof(clients[i]);
    famine_end(&f);
    const nt_report *r = nt_claim(NEAP_REPORT_SHORTAGE);
    assert_code(r->code, NEAP_EMFILE);
    assert_non_null(strstr(r->message, "3 of its connections are open"));
    net_put(clients[0], "hello"); /* what is open goes on */
    net_recv_text(s.conns[0], "hello");
    close_clients(clients, 8);
    end(&s);
}

static void an_episode_is_reported_once_however_many_come(void **state) {
    (void)state;
    shop s;
    famine f;
    int clients[40];
    begin(&s, 0);
    make_clients(clients, 40);
    famine_begin(&f, 0);
    for (int i = 0; i < 40; i += 10) {
        join(&s, clients + i, 10);
        UNTIL(metrics_of(&s).shed == (uint64_t)i + 10);
    }
    famine_end(&f);
    assert_int_equal(metrics_of(&s).shortages, 1);
    (void)nt_claim(NEAP_REPORT_SHORTAGE);
    close_clients(clients, 40);
    end(&s);
}

static void a_server_without_descriptors_and_clients_sleeps(void **state) {
    (void)state;
    shop s;
    famine f;
    int client;
    begin(&s, 0);
    make_clients(&client, 1);
    famine_begin(&f, 0);
    join(&s, &client, 1);
    UNTIL(metrics_of(&s).shed == 1);
    UNTIL(nt_metrics().timers == 0); /* it has looked again, and found nobody */
    nt_settle();
    uint64_t turns = metrics_of(&s).turns;
    for (int i = 0; i < 5; i++)
        assert_true(neap_loop_run_once(nt.loop, 20 * NT_MS) >= 0);
    assert_int_equal(metrics_of(&s).turns, turns);
    famine_end(&f);
    (void)nt_claim(NEAP_REPORT_SHORTAGE);
    net_close(client);
    end(&s);
}

static void a_flood_costs_one_turn_per_back_off(void **state) {
    (void)state;
    enum {
        FLOOD = 50
    };
    shop s;
    famine f;
    int clients[FLOOD];
    begin(&s, 0);
    make_clients(clients, FLOOD);
    famine_begin(&f, 0);
    join(&s, clients, 1);
    UNTIL(metrics_of(&s).shed == 1);
    uint64_t turns = metrics_of(&s).turns, events = nt_metrics().events;
    for (int i = 1; i < FLOOD; i++) {
        join(&s, clients + i, 1);
        nt_turn();
    }
    /* The back-off was not over, or once on a slow machine: nobody has woken the loop. */
    assert_true(metrics_of(&s).turns - turns <= 2 + (uint64_t)(nt_slow_machine() ? 50 : 0));
    assert_true(nt_metrics().events - events <= 2 + (uint64_t)(nt_slow_machine() ? 50 : 0));
    UNTIL(metrics_of(&s).shed == FLOOD);
    famine_end(&f);
    (void)nt_claim(NEAP_REPORT_SHORTAGE);
    close_clients(clients, FLOOD);
    end(&s);
}

/* ---- Keeping them ------------------------------------------------------------------------------- */

static void if_asked_for_connections_wait_until_there_are_descriptors(void **state) {
    (void)state;
    shop s;
    famine f;
    int clients[4];
    begin(&s, NEAP_SERVER_KEEP_QUEUED);
    make_clients(clients, 4);
    famine_begin(&f, 1);
    join(&s, clients, 4);
    UNTIL(s.n == 1);
    nt_settle();
    assert_int_equal(metrics_of(&s).shed, 0);
    famine_end(&f); /* by others: the timer finds out */
    UNTIL(s.n == 4);
    assert_int_equal(metrics_of(&s).shed, 0);
    (void)nt_claim(NEAP_REPORT_SHORTAGE);
    close_clients(clients, 4);
    end(&s);
}

static void N13_a_socket_that_is_closed_makes_room_at_once(void **state) {
    (void)state;
    shop s;
    famine f;
    int clients[3];
    begin(&s, NEAP_SERVER_KEEP_QUEUED);
    make_clients(clients, 3);
    famine_begin(&f, 1);
    join(&s, clients, 3);
    UNTIL(s.n == 1);
    nt_settle();
    assert_int_equal(nt_metrics().timers, 1);
    int64_t due = 0;
    assert_int_equal(neap_loop_next_deadline(nt.loop, &due), 1);
    net_end(s.conns[0]);
    s.conns[0] = NULL;
    nt_turn();
    assert_int_equal(s.n, 2); /* in the next turn, whatever the timer says */
    s.conns[0] = s.conns[1];
    s.n = 1;
    famine_end(&f);
    UNTIL(s.n == 2);
    (void)nt_claim(NEAP_REPORT_SHORTAGE);
    close_clients(clients, 3);
    end(&s);
}

static void who_waits_for_a_connection_waits_through_a_shortage(void **state) {
    (void)state;
    neap_addr any = net_loopback(), addr;
    neap_server *server = NULL;
    neap_future *future = NULL;
    neap_sock *sock = NULL;
    famine f;
    int client;
    const neap_server_options o = {.size = sizeof o, .flags = NEAP_SERVER_KEEP_QUEUED};
    assert_ok(neap_server_new(nt.loop, &any, 1, &o, &server, NULL));
    assert_ok(neap_sock_local(neap_server_listener(server, 0), &addr));
    assert_code(neap_server_accept(server, 0, &sock, NULL, &future), NEAP_PENDING);
    nt_settle();
    make_clients(&client, 1);
    famine_begin(&f, 0);
    assert_int_equal(connect(client, (struct sockaddr *)(void *)addr.data, addr.len), 0);
    while (nt.n_reports == 0)
        assert_true(neap_loop_run_once(nt.loop, NT_SEC) >= 0);
    assert_int_equal(neap_future_done(future), 0);
    famine_end(&f);
    net_end(net_accepted(future));
    (void)nt_claim(NEAP_REPORT_SHORTAGE);
    net_close(client);
    assert_int_equal(neap_server_abort(server), 1);
    nt_settle();
    neap_server_unref(server);
}

/* ---- In between ---------------------------------------------------------------------------------- */

static void a_server_can_be_paused_and_closed_during_a_shortage(void **state) {
    (void)state;
    shop s;
    famine f;
    int clients[2];
    begin(&s, NEAP_SERVER_KEEP_QUEUED);
    make_clients(clients, 2);
    famine_begin(&f, 0);
    join(&s, clients, 2);
    UNTIL(nt.n_reports == 1);
    assert_ok(neap_server_pause(s.server));
    assert_int_equal(nt_metrics().timers, 0);
    assert_ok(neap_server_resume(s.server));
    UNTIL(nt_metrics().timers == 1);
    assert_int_equal(neap_server_abort(s.server), 1);
    famine_end(&f);
    nt_settle();
    assert_int_equal(nt_metrics().timers, 0);
    (void)nt_claim(NEAP_REPORT_SHORTAGE);
    close_clients(clients, 2);
    end(&s);
}

static void a_server_that_cannot_have_its_descriptors_is_not_made(void **state) {
    (void)state;
    famine f;
    neap_addr any = net_loopback();
    neap_server *server = NULL;
    for (int free = 0; free < 2; free++) {
        famine_begin(&f, free);
        assert_code(neap_server_new(nt.loop, &any, 1, NULL, &server, NULL), NEAP_EMFILE);
        famine_end(&f);
        assert_null(server);
    }
}

NT_MAIN(NT_TEST(without_descriptors_connections_are_closed_at_once),
        NT_TEST(an_episode_is_reported_once_however_many_come),
        NT_TEST(a_server_without_descriptors_and_clients_sleeps),
        NT_TEST(a_flood_costs_one_turn_per_back_off),
        NT_TEST(if_asked_for_connections_wait_until_there_are_descriptors),
        NT_TEST(N13_a_socket_that_is_closed_makes_room_at_once),
        NT_TEST(who_waits_for_a_connection_waits_through_a_shortage),
        NT_TEST(a_server_can_be_paused_and_closed_during_a_shortage),
        NT_TEST(a_server_that_cannot_have_its_descriptors_is_not_made))
