/* Servers under failing memory: as test_core.c. */
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net.h"

static int ok(int32_t code) {
    if (code < 0)
        assert_int_equal(code, NEAP_ENOMEM);
    return code >= 0;
}

static void turn(neap_loop *loop, int n) {
    for (int i = 0; i < n; i++) {
        int32_t code = neap_loop_run_once(loop, NT_MS);
        assert_true(code >= 0 || code == NEAP_ENOMEM);
    }
}

static neap_server *server_on(neap_loop *loop, neap_addr *ret_addr) {
    const neap_server_options o = {.size = sizeof o, .backoff_ns = NT_MS};
    neap_addr any = net_loopback();
    neap_server *server = NULL;
    if (!ok(neap_server_new(loop, &any, 1, &o, &server, NULL))) {
        assert_null(server);
        return NULL;
    }
    assert_ok(neap_sock_local(neap_server_listener(server, 0), ret_addr));
    return server;
}

static void finish(neap_loop *loop, neap_server *server) {
    if (server != NULL) {
        assert_true(neap_server_abort(server) >= 0);
        turn(loop, 4);
        assert_int_equal(neap_server_state(server), NEAP_SERVER_CLOSED);
        neap_server_unref(server);
    }
    assert_ok(neap_loop_close(loop, 0));
    neap_loop_unref(loop);
}

/* ---- Scenarios ------------------------------------------------------------------------------- */

static void count(neap_server *server, neap_sock *sock, const neap_addr *peer, void *user) {
    (void)server;
    (void)peer;
    ++*(int *)user;
    neap_sock_unref(sock);
}

static void a_connection_is_called_for_once(void) {
    neap_loop *loop = nt_fault_loop(0);
    neap_addr addr;
    int calls = 0;
    if (loop == NULL)
        return;
    neap_server *server = server_on(loop, &addr);
    if (server != NULL && ok(neap_server_on_connection(server, count, &calls, NULL))) {
        int client = net_raw_connect(&addr);
        turn(loop, 8);
        assert_true(calls <= 1);
        net_close(client);
    }
    finish(loop, server);
}

static void who_waits_gets_a_connection_or_a_refusal(void) {
    neap_loop *loop = nt_fault_loop(0);
    neap_addr addr;
    neap_sock *sock = NULL;
    neap_future *future = NULL;
    if (loop == NULL)
        return;
    neap_server *server = server_on(loop, &addr);
    int32_t code =
        server == NULL ? NEAP_ENOMEM : neap_server_accept(server, 0, &sock, NULL, &future);
    if (code == NEAP_PENDING) {
        int client = net_raw_connect(&addr);
        turn(loop, 8);
        net_close(client);
    }
    finish(loop, server);
    if (code != NEAP_PENDING)
        assert_int_equal(code, NEAP_ENOMEM);
    else if (neap_future_error(future) < 0)
        assert_int_equal(neap_future_error(future), NEAP_ECLOSED);
    neap_future_unref(future);
}

static const nt_act patient[] = {NT_SLEEP_CATCH(NT_SEC), {.what = NT_DO_END}};

static void spawn_handler(neap_server *server, neap_sock *sock, const neap_addr *peer, void *user) {
    nt_script *script = user;
    neap_task_options o = {.size = sizeof o, .scope = neap_server_scope(server)};
    neap_task *task = NULL;
    (void)peer;
    script->acts = patient;
    if (ok(neap_task_spawn(neap_server_loop(server), &nt_script_ops, script, &o, &task)))
        (void)neap_server_serve_by(server, sock, task);
    neap_task_unref(task);
    neap_sock_unref(sock);
}

static void handlers_are_ended(void) {
    neap_loop *loop = nt_fault_loop(0);
    neap_addr addr;
    nt_script script = {.seen_state = -1};
    const neap_server_close_options o = {
        .size = sizeof o, .grace_ns = NT_MS, .cancel_grace_ns = NT_MS, .reason = "over"};
    if (loop == NULL)
        return;
    neap_server *server = server_on(loop, &addr);
    if (server != NULL && ok(neap_server_on_connection(server, spawn_handler, &script, NULL))) {
        int client = net_raw_connect(&addr);
        turn(loop, 8);
        assert_int_equal(neap_server_close(server, &o), 1);
        turn(loop, 8);
        net_close(client);
    }
    finish(loop, server);
}

/* Of those who had connected before the close, some may be reset; none is left behind. */
static void who_had_connected_is_served_or_reset(void) {
    neap_loop *loop = nt_fault_loop(0);
    neap_addr addr;
    int calls = 0;
    if (loop == NULL)
        return;
    neap_server *server = server_on(loop, &addr);
    if (server != NULL && ok(neap_server_on_connection(server, count, &calls, NULL))) {
        int clients[2] = {net_raw_connect(&addr), net_raw_connect(&addr)};
        net_wait(neap_sock_fd(neap_server_listener(server, 0)), POLLIN);
        assert_int_equal(neap_server_close(server, NULL), 1);
        turn(loop, 8);
        assert_true(calls <= 2);
        net_close(clients[0]);
        net_close(clients[1]);
    }
    finish(loop, server);
}

#define SWEEP(scenario)                                         \
    static void under_failing_memory_##scenario(void **state) { \
        (void)state;                                            \
        nt_fault(scenario);                                     \
    }

SWEEP(a_connection_is_called_for_once)
SWEEP(who_waits_gets_a_connection_or_a_refusal)
SWEEP(handlers_are_ended)
SWEEP(who_had_connected_is_served_or_reset)

NT_MAIN(NT_TEST_BARE(under_failing_memory_a_connection_is_called_for_once),
        NT_TEST_BARE(under_failing_memory_who_waits_gets_a_connection_or_a_refusal),
        NT_TEST_BARE(under_failing_memory_handlers_are_ended),
        NT_TEST_BARE(under_failing_memory_who_had_connected_is_served_or_reset))
