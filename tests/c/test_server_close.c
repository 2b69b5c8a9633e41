/* The end of a server: it listens no more, handlers finish, are cancelled, are aborted. */
#include "net.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- Help: a server whose connections are served by scripted tasks --------------------------- */

enum {
    SERVED_MAX = 8
};

typedef struct served {
    neap_server *server;
    neap_addr addr;
    const nt_act *acts;
    nt_script scripts[SERVED_MAX];
    neap_sock *socks[SERVED_MAX];
    int clients[SERVED_MAX];
    int n;
    int alone; /* without tasks */
} served;

static void serve_one(neap_server *server, neap_sock *sock, const neap_addr *peer, void *user) {
    served *s = user;
    neap_task *task = NULL;
    (void)peer;
    int i = s->n++;
    s->socks[i] = sock;
    if (s->alone)
        return;
    nt_script *script = &s->scripts[i];
    *script = (nt_script){.acts = s->acts, .seen_state = -1};
    neap_task_options o = {.size = sizeof o, .name = "handler", .scope = neap_server_scope(server)};
    assert_ok(neap_task_spawn(nt.loop, &nt_script_ops, script, &o, &task));
    assert_ok(neap_server_serve_by(server, sock, task));
    neap_task_unref(task);
}

static void begin(served *s, const nt_act *acts) {
    neap_addr any = net_loopback();
    *s = (served){.acts = acts, .alone = acts == NULL};
    assert_ok(neap_server_new(nt.loop, &any, 1, NULL, &s->server, NULL));
    assert_ok(neap_server_on_connection(s->server, serve_one, s, NULL));
    assert_ok(neap_sock_local(neap_server_listener(s->server, 0), &s->addr));
}

static void join(served *s, int n) {
    for (int i = 0; i < n; i++)
        s->clients[i] = net_raw_connect(&s->addr);
    for (int i = 0; s->n < n && i < 10000; i++)
        nt_turn();
    assert_int_equal(s->n, n);
    nt_turn();
}

static int32_t close_with(served *s, int64_t grace_ns, int64_t cancel_grace_ns) {
    const neap_server_close_options o = {
        .size = sizeof o, .grace_ns = grace_ns, .cancel_grace_ns = cancel_grace_ns};
    return neap_server_close(s->server, &o);
}

static neap_future *closed_of(served *s) {
    neap_future *future = NULL;
    assert_code(neap_server_closed(s->server, &future), NEAP_PENDING);
    return future;
}

static void until_closed(served *s) {
    neap_future *future = NULL;
    if (neap_server_closed(s->server, &future) == NEAP_PENDING) {
        nt_until(future);
        assert_int_equal(neap_future_error(future), 0);
        neap_future_unref(future);
    }
    assert_int_equal(neap_server_state(s->server), NEAP_SERVER_CLOSED);
}

static void end(served *s) {
    int n = s->n;
    until_closed(s);
    neap_server_unref(s->server);
    for (int i = 0; i < n; i++) {
        net_end(s->socks[i]);
        net_close(s->clients[i]);
    }
}

static uint64_t open_of(served *s) {
    neap_server_metrics m;
    assert_true(neap_server_get_metrics(s->server, &m, sizeof m) > 0);
    return m.open;
}

/* ---- The steps -------------------------------------------------------------------------------- */

static void N13_close_stops_to_accept_at_once(void **state) {
    (void)state;
    served s;
    begin(&s, NULL);
    int queued = net_raw_connect(&s.addr);
    net_wait(neap_sock_fd(neap_server_listener(s.server, 0)), POLLIN);
    assert_int_equal(close_with(&s, -1, 0), 1);
    assert_null(neap_server_listener(s.server, 0));
    char byte;
    assert_int_equal(recv(queued, &byte, 1, 0), -1); /* reset: nobody will ever serve it */
    int late = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(late, (struct sockaddr *)(void *)s.addr.data, s.addr.len), -1);
    net_close(late);
    net_close(queued);
    end(&s);
    assert_int_equal(s.n, 0);
}

/* Three who have connected and asked, of whom nobody has taken notice yet. */
static void queue_clients(served *s) {
    for (int i = 0; i < 3; i++) {
        s->clients[i] = net_raw_connect(&s->addr);
        assert_int_equal(send(s->clients[i], "?", 1, 0), 1);
    }
    net_wait(neap_sock_fd(neap_server_listener(s->server, 0)), POLLIN);
}

static void D16_who_had_connected_before_is_served_within_the_grace(void **state) {
    (void)state;
    served s;
    begin(&s, NT_ACTS(NT_SLEEP(NT_SEC), NT_NOTE("served")));
    queue_clients(&s);
    assert_int_equal(close_with(&s, 0, 0), 1);
    assert_null(neap_server_listener(s.server, 0));
    assert_int_equal(s.n, 0); /* no user code in the call */
    assert_int_equal(open_of(&s), 3);
    int late = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(late, (struct sockaddr *)(void *)s.addr.data, s.addr.len), -1);
    net_close(late);
    until_closed(&s);
    assert_int_equal(s.n, 3);
    assert_notes("served served served");
    assert_int_equal(neap_loop_time(nt.loop), NT_SEC);
    end(&s);
}

static void D16_of_those_no_more_are_served_than_may_be_open(void **state) {
    (void)state;
    served s = {.acts = NT_ACTS(NT_SLEEP(NT_SEC))};
    neap_addr any = net_loopback();
    const neap_server_options o = {.size = sizeof o, .max_connections = 2};
    assert_ok(neap_server_new(nt.loop, &any, 1, &o, &s.server, NULL));
    assert_ok(neap_server_on_connection(s.server, serve_one, &s, NULL));
    assert_ok(neap_sock_local(neap_server_listener(s.server, 0), &s.addr));
    queue_clients(&s);
    assert_int_equal(close_with(&s, 0, 0), 1);
    until_closed(&s);
    assert_int_equal(s.n, 2);
    net_close(s.clients[2]);
    end(&s);
}

static void D16_a_cancel_before_they_are_served_closes_them(void **state) {
    (void)state;
    for (int how = 0; how < 3; how++) {
        served s;
        begin(&s, NT_ACTS(NT_SLEEP(NT_SEC)));
        queue_clients(&s);
        assert_int_equal(close_with(&s, 0, 0), 1);
        assert_int_equal(open_of(&s), 3);
        if (how == 0)
            assert_int_equal(neap_server_abort(s.server), 1);
        else
            assert_int_equal(close_with(&s, -1, how == 1 ? -1 : 0), 1);
        until_closed(&s);
        assert_int_equal(s.n, 0);
        for (int i = 0; i < 3; i++)
            net_close(s.clients[i]);
        end(&s);
    }
}

static void D16_who_waits_for_a_connection_has_one_that_was_there(void **state) {
    (void)state;
    served s = {0};
    neap_addr any = net_loopback();
    neap_sock *sock = NULL;
    neap_future *future = NULL;
    assert_ok(neap_server_new(nt.loop, &any, 1, NULL, &s.server, NULL));
    assert_ok(neap_sock_local(neap_server_listener(s.server, 0), &s.addr));
    assert_code(neap_server_accept(s.server, 0, &sock, NULL, &future), NEAP_PENDING);
    queue_clients(&s);
    assert_int_equal(close_with(&s, 0, 0), 1);
    assert_ok(neap_future_take_sock(future, &sock));
    neap_future_unref(future);
    net_end(sock);
    until_closed(&s);
    for (int i = 0; i < 3; i++)
        net_close(s.clients[i]);
    end(&s);
}

static void a_loop_that_closes_ends_what_was_not_handed_out(void **state) {
    (void)state;
    served s;
    begin(&s, NT_ACTS(NT_SLEEP(NT_SEC)));
    queue_clients(&s);
    assert_int_equal(close_with(&s, 0, 0), 1);
    assert_ok(neap_loop_close(nt.loop, 0));
    assert_int_equal(s.n, 0);
    neap_server_unref(s.server);
    for (int i = 0; i < 3; i++)
        net_close(s.clients[i]);
}

static void D16_handlers_may_finish_within_the_grace(void **state) {
    (void)state;
    served s;
    begin(&s, NT_ACTS(NT_SLEEP(3 * NT_SEC), NT_NOTE("done")));
    join(&s, 2);
    assert_int_equal(close_with(&s, 5 * NT_SEC, 0), 1);
    neap_future *future = closed_of(&s);
    nt_turn();
    assert_int_equal(neap_future_done(future), 0);
    assert_int_equal(open_of(&s), 2);
    nt_until(future);
    neap_future_unref(future);
    assert_notes("done done");
    assert_int_equal(neap_loop_time(nt.loop), 3 * NT_SEC);
    assert_int_equal(s.scripts[0].cancels, 0);
    net_expect_eof(s.clients[0]);
    end(&s);
}

static void D16_after_the_grace_handlers_are_cancelled_and_may_clean_up(void **state) {
    (void)state;
    served s;
    begin(&s, NT_ACTS(NT_SLEEP_CATCH(60 * NT_SEC), NT_NOTE("cleaned")));
    join(&s, 2);
    assert_int_equal(close_with(&s, 2 * NT_SEC, 0), 1);
    until_closed(&s);
    assert_int_equal(neap_loop_time(nt.loop), 2 * NT_SEC);
    assert_notes("cleaned cleaned");
    assert_int_equal(s.scripts[0].cancels + s.scripts[1].cancels, 2);
    end(&s);
}

static void D16_a_handler_that_ignores_the_cancellation_is_aborted_and_reported(void **state) {
    (void)state;
    served s;
    begin(&s, NT_ACTS(NT_YIELD_CATCH, NT_AGAIN));
    join(&s, 1);
    assert_int_equal(close_with(&s, -1, 20 * NT_MS), 1);
    until_closed(&s);
    assert_int_equal(s.scripts[0].destroyed, 1);
    assert_true(s.scripts[0].cancels > 1); /* its scope stays cancelled */
    const nt_report *r = nt_claim(NEAP_REPORT_ABORTED);
    assert_string_equal(r->name, "handler");
    end(&s);
}

static void D16_without_graces_it_has_one_turn(void **state) {
    (void)state;
    served s;
    begin(&s, NT_ACTS(NT_SLEEP_CATCH(60 * NT_SEC), NT_NOTE("cleaned"), NT_YIELD_CATCH, NT_AGAIN));
    join(&s, 1);
    assert_int_equal(close_with(&s, -1, -1), 1);
    until_closed(&s);
    assert_notes("cleaned");
    end(&s);
}

static void abort_closes_connections_at_once(void **state) {
    (void)state;
    served s;
    begin(&s, NT_ACTS(NT_SLEEP_CATCH(60 * NT_SEC), NT_NOTE("cleaned")));
    join(&s, 2);
    assert_int_equal(neap_server_abort(s.server), 1);
    assert_int_equal(open_of(&s), 0);
    assert_code(neap_sock_fd(s.socks[0]), NEAP_ECLOSED);
    until_closed(&s);
    assert_notes("cleaned cleaned");
    net_expect_eof(s.clients[1]);
    end(&s);
}

static void abort_ends_a_grace(void **state) {
    (void)state;
    served s;
    begin(&s, NT_ACTS(NT_SLEEP(60 * NT_SEC)));
    join(&s, 1);
    assert_int_equal(close_with(&s, INT64_MAX, INT64_MAX), 1);
    nt_settle();
    assert_int_equal(neap_server_state(s.server), NEAP_SERVER_CLOSING);
    assert_int_equal(neap_server_abort(s.server), 1);
    until_closed(&s);
    assert_int_equal(neap_loop_time(nt.loop), 0);
    end(&s);
}

static void close_again_only_shortens_the_graces(void **state) {
    (void)state;
    served s;
    begin(&s, NT_ACTS(NT_SLEEP(60 * NT_SEC)));
    join(&s, 1);
    assert_int_equal(close_with(&s, 9 * NT_SEC, NT_SEC), 1);
    assert_int_equal(close_with(&s, 2 * NT_SEC, NT_SEC), 1);
    assert_int_equal(close_with(&s, 5 * NT_SEC, NT_SEC), 1);
    until_closed(&s);
    assert_int_equal(neap_loop_time(nt.loop), 2 * NT_SEC);
    assert_int_equal(close_with(&s, 0, 0), 0);
    assert_int_equal(neap_server_abort(s.server), 0);
    end(&s);
}

static void
connections_without_a_task_may_end_within_the_grace_and_are_closed_after_it(void **state) {
    (void)state;
    served s;
    begin(&s, NULL);
    join(&s, 2);
    assert_int_equal(close_with(&s, 2 * NT_SEC, 0), 1);
    nt_settle();
    assert_ok(neap_sock_close(s.socks[0]));
    nt_settle();
    assert_int_equal(open_of(&s), 1);
    until_closed(&s);
    assert_int_equal(neap_loop_time(nt.loop), 2 * NT_SEC);
    assert_code(neap_sock_fd(s.socks[1]), NEAP_ECLOSED);
    end(&s);
}

static neap_task *below;
static nt_script below_script;

static void spawn_below(void *user) {
    static const nt_act acts[] = {NT_SLEEP_CATCH(60 * NT_SEC), {.what = NT_DO_END}};
    (void)user;
    below = nt_spawn(&below_script, "below", acts);
}

static void what_a_handler_spawned_is_waited_for_and_cancelled_too(void **state) {
    (void)state;
    served s;
    below_script = (nt_script){0};
    begin(&s, NT_ACTS(NT_CALL(spawn_below, NULL)));
    join(&s, 1);
    nt_settle();
    assert_int_equal(open_of(&s), 0);
    assert_int_equal(close_with(&s, NT_SEC, 0), 1);
    until_closed(&s);
    assert_int_equal(below_script.cancels, 1);
    neap_task_unref(below);
    end(&s);
}

/* ---- What belongs to a connection ------------------------------------------------------------ */

static void D19_a_handler_that_never_started_leaks_nothing(void **state) {
    (void)state;
    served s;
    begin(&s, NT_ACTS(NT_NOTE("started")));
    s.clients[0] = net_raw_connect(&s.addr);
    while (s.n == 0)
        nt_turn();
    assert_int_equal(neap_server_abort(s.server), 1); /* before its first step */
    until_closed(&s);
    assert_notes("");
    assert_int_equal(s.scripts[0].destroyed, 1);
    assert_code(neap_sock_fd(s.socks[0]), NEAP_ECLOSED);
    end(&s);
}

static void the_connection_is_closed_when_its_handler_has_ended(void **state) {
    (void)state;
    served s;
    begin(&s, NT_ACTS(NT_YIELD, NT_NOTE("done")));
    join(&s, 1);
    nt_settle();
    assert_int_equal(open_of(&s), 0);
    net_expect_eof(s.clients[0]);
    assert_code(neap_sock_fd(s.socks[0]), NEAP_ECLOSED);
    assert_int_equal(neap_server_abort(s.server), 1);
    end(&s);
}

static void
N11_a_failing_handler_is_reported_with_its_peer_and_closes_its_connection_only(void **state) {
    (void)state;
    served s;
    begin(&s, NT_ACTS(NT_FAIL(NEAP_EPIPE)));
    join(&s, 1);
    nt_settle();
    const nt_report *r = nt_claim(NEAP_REPORT_UNHANDLED);
    assert_non_null(strstr(r->message, "the handler of the connection from 127.0.0.1:"));
    assert_int_equal(r->code, NEAP_EPIPE);
    assert_code(neap_sock_fd(s.socks[0]), NEAP_ECLOSED);
    s.acts = NT_ACTS(NT_SLEEP(NT_SEC));
    s.clients[1] = net_raw_connect(&s.addr);
    while (s.n < 2)
        nt_turn();
    assert_int_equal(open_of(&s), 1);
    assert_int_equal(close_with(&s, 0, 0), 1);
    end(&s);
}

static void a_handler_may_go_on_after_it_has_closed_its_connection(void **state) {
    (void)state;
    served s;
    begin(&s, NT_ACTS(NT_SLEEP(NT_SEC), NT_NOTE("late")));
    join(&s, 1);
    assert_ok(neap_sock_close(s.socks[0]));
    assert_int_equal(open_of(&s), 0);
    assert_int_equal(close_with(&s, 5 * NT_SEC, 0), 1);
    until_closed(&s);
    assert_notes("late");
    end(&s);
}

static void only_an_open_connection_of_the_server_gets_a_task_and_only_one(void **state) {
    (void)state;
    served s;
    nt_script script = {0};
    neap_sock *a, *b;
    begin(&s, NT_ACTS(NT_SLEEP(NT_SEC)));
    join(&s, 1);
    neap_task *task = nt_spawn(&script, "task", NT_ACTS(NT_YIELD));
    assert_ok(neap_sock_pair(nt.loop, NEAP_UNIX, &a, &b));
    assert_code(neap_server_serve_by(s.server, a, task), NEAP_EINVALID_STATE);
    assert_code(neap_server_serve_by(s.server, s.socks[0], task), NEAP_EINVALID_STATE);
    net_end(a);
    net_end(b);
    assert_ok(neap_sock_close(s.socks[0]));
    assert_code(neap_server_serve_by(s.server, s.socks[0], task), NEAP_EINVALID_STATE);
    neap_task_unref(task);
    assert_int_equal(close_with(&s, 0, 0), 1);
    end(&s);
}

static void resets_and_peers_that_vanish_leave_nothing(void **state) {
    (void)state;
    served s;
    begin(&s, NT_ACTS(NT_YIELD, NT_YIELD));
    s.clients[0] = net_raw_connect(&s.addr);
    net_reset(s.clients[0]); /* in the queue */
    s.clients[0] = net_raw_connect(&s.addr);
    while (s.n < 2)
        nt_turn();
    net_reset(s.clients[0]); /* while it is served */
    nt_settle();
    assert_int_equal(open_of(&s), 0);
    assert_int_equal(neap_server_abort(s.server), 1);
    until_closed(&s);
    neap_server_unref(s.server);
    for (int i = 0; i < s.n; i++)
        neap_sock_unref(s.socks[i]);
}

/* ---- With the loop ---------------------------------------------------------------------------- */

static void D16_a_shutdown_of_the_loop_stops_a_server_and_its_handlers(void **state) {
    (void)state;
    served s;
    const neap_shutdown_options o = {
        .size = sizeof o, .stop_grace_ns = 2 * NT_SEC, .grace_ns = NT_SEC};
    begin(&s, NT_ACTS(NT_SLEEP_CATCH(60 * NT_SEC), NT_NOTE("cleaned")));
    join(&s, 2);
    assert_int_equal(neap_loop_shutdown_with(nt.loop, &o), 0);
    assert_notes("cleaned cleaned");
    assert_int_equal(neap_loop_time(nt.loop), 2 * NT_SEC);
    assert_null(neap_server_listener(s.server, 0));
    end(&s);
}

static void a_server_may_ask_to_be_left_alone_by_a_shutdown(void **state) {
    (void)state;
    neap_addr any = net_loopback();
    const neap_server_options o = {.size = sizeof o, .flags = NEAP_SERVER_NO_SHUTDOWN};
    neap_server *server = NULL;
    assert_ok(neap_server_new(nt.loop, &any, 1, &o, &server, NULL));
    assert_int_equal(neap_loop_shutdown(nt.loop, 0), 0);
    assert_int_equal(neap_server_state(server), NEAP_SERVER_OPEN);
    assert_int_equal(neap_server_abort(server), 1);
    nt_settle();
    assert_int_equal(neap_server_state(server), NEAP_SERVER_CLOSED);
    neap_server_unref(server);
}

static void an_open_server_goes_on_without_references(void **state) {
    (void)state;
    served s;
    begin(&s, NULL);
    neap_server_unref(s.server);
    join(&s, 1);
    net_put(s.clients[0], "hello");
    net_recv_text(s.socks[0], "hello");
    net_end(s.socks[0]);
    net_close(s.clients[0]);
    assert_int_equal(neap_loop_shutdown(nt.loop, 0), 0);
    nt_settle();
}

static void closing_the_loop_ends_its_servers_and_who_waits_for_them(void **state) {
    (void)state;
    neap_loop *loop = nt_loop_new(0);
    neap_addr any = net_loopback();
    neap_server *server = NULL;
    neap_future *closed = NULL, *waiting = NULL;
    neap_sock *sock = NULL;
    assert_ok(neap_server_new(loop, &any, 1, NULL, &server, NULL));
    assert_code(neap_server_accept(server, 0, &sock, NULL, &waiting), NEAP_PENDING);
    assert_code(neap_server_closed(server, &closed), NEAP_PENDING);
    assert_ok(neap_loop_close(loop, 0));
    assert_code(neap_future_error(waiting), NEAP_ECLOSED);
    assert_int_equal(neap_future_done(closed), 1);
    neap_future_unref(waiting);
    neap_future_unref(closed);
    neap_server_unref(server);
    neap_loop_unref(loop);
}

/* ---- What is told ------------------------------------------------------------------------------ */

static void note_log(neap_loop *loop, int32_t level, const char *text, void *user) {
    (void)loop;
    (void)level;
    (void)user;
    if (strstr(text, "server") != NULL)
        nt_note("[%s]", text);
}

static void the_log_tells_once_a_second_whom_a_closing_server_waits_for(void **state) {
    (void)state;
    served s;
    begin(&s, NT_ACTS(NT_SLEEP(2500 * NT_MS)));
    join(&s, 1);
    assert_ok(neap_loop_set_log_hook(nt.loop, note_log, NULL, NULL));
    assert_int_equal(close_with(&s, 5 * NT_SEC, 0), 1);
    until_closed(&s);
    assert_notes("[a server that closes waits for 1 connections and 1 tasks: handler] "
                 "[a server that closes waits for 1 connections and 1 tasks: handler]");
    assert_ok(neap_loop_set_log_hook(nt.loop, NULL, NULL, NULL));
    end(&s);
}

static void a_wait_for_the_end_of_a_server_says_so(void **state) {
    (void)state;
    served s;
    nt_script script = {0};
    char text[256];
    begin(&s, NULL);
    join(&s, 1);
    neap_future *closed = closed_of(&s);
    neap_task *task = nt_spawn(&script, "waiter", NT_ACTS(NT_AWAIT(closed)));
    nt_settle();
    neap_task_describe_wait(task, text, sizeof text);
    assert_non_null(strstr(text, "waits for the end of a server on 127.0.0.1:"));
    assert_non_null(strstr(text, "which has 1 connections"));
    assert_int_equal(neap_server_abort(s.server), 1);
    nt_until_task(task);
    neap_task_unref(task);
    neap_future_unref(closed);
    end(&s);
}

NT_MAIN(
    NT_TEST(N13_close_stops_to_accept_at_once),
    NT_TEST_VIRTUAL(D16_who_had_connected_before_is_served_within_the_grace),
    NT_TEST_VIRTUAL(D16_of_those_no_more_are_served_than_may_be_open),
    NT_TEST(D16_a_cancel_before_they_are_served_closes_them),
    NT_TEST(D16_who_waits_for_a_connection_has_one_that_was_there),
    NT_TEST(a_loop_that_closes_ends_what_was_not_handed_out),
    NT_TEST_VIRTUAL(D16_handlers_may_finish_within_the_grace),
    NT_TEST_VIRTUAL(D16_after_the_grace_handlers_are_cancelled_and_may_clean_up),
    NT_TEST(D16_a_handler_that_ignores_the_cancellation_is_aborted_and_reported),
    NT_TEST(D16_without_graces_it_has_one_turn), NT_TEST(abort_closes_connections_at_once),
    NT_TEST_VIRTUAL(abort_ends_a_grace), NT_TEST_VIRTUAL(close_again_only_shortens_the_graces),
    NT_TEST_VIRTUAL(connections_without_a_task_may_end_within_the_grace_and_are_closed_after_it),
    NT_TEST_VIRTUAL(what_a_handler_spawned_is_waited_for_and_cancelled_too),
    NT_TEST(D19_a_handler_that_never_started_leaks_nothing),
    NT_TEST(the_connection_is_closed_when_its_handler_has_ended),
    NT_TEST_VIRTUAL(N11_a_failing_handler_is_reported_with_its_peer_and_closes_its_connection_only),
    NT_TEST_VIRTUAL(a_handler_may_go_on_after_it_has_closed_its_connection),
    NT_TEST_VIRTUAL(only_an_open_connection_of_the_server_gets_a_task_and_only_one),
    NT_TEST(resets_and_peers_that_vanish_leave_nothing),
    NT_TEST_VIRTUAL(D16_a_shutdown_of_the_loop_stops_a_server_and_its_handlers),
    NT_TEST(a_server_may_ask_to_be_left_alone_by_a_shutdown),
    NT_TEST(an_open_server_goes_on_without_references),
    NT_TEST(closing_the_loop_ends_its_servers_and_who_waits_for_them),
    NT_TEST_VIRTUAL(the_log_tells_once_a_second_whom_a_closing_server_waits_for),
    NT_TEST(a_wait_for_the_end_of_a_server_says_so))
