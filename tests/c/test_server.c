/* Servers: addresses, accepting by callback and by future, limits, pausing, and the list of connections. */
#include "net.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- Help ---------------------------------------------------------------------------------- */

enum {
    KEPT_MAX = 256
};

/* What a server's function keeps. */
typedef struct keeper {
    neap_sock *socks[KEPT_MAX];
    neap_addr peers[KEPT_MAX];
    int n;
    int gone;     /* calls of the destroy hook */
    int pause_at; /* after so many the function pauses the server */
    int close_at; /* after so many it closes it */
} keeper;

static void keep(neap_server *server, neap_sock *sock, const neap_addr *peer, void *user) {
    keeper *k = user;
    assert_true(k->n < KEPT_MAX);
    k->socks[k->n] = sock;
    k->peers[k->n++] = *peer;
    if (k->n == k->pause_at)
        assert_ok(neap_server_pause(server));
    if (k->n == k->close_at)
        assert_int_equal(neap_server_close(server, NULL), 1);
}

static void keeper_gone(void *user) {
    ((keeper *)user)->gone++;
}

static void keeper_end(keeper *k) {
    for (int i = 0; i < k->n; i++)
        if (k->socks[i] != NULL)
            net_end(k->socks[i]);
    k->n = 0;
}

static neap_server *serve_with(const neap_addr *addr, const neap_server_options *options,
                               keeper *k) {
    neap_server *server = NULL;
    assert_ok(neap_server_new(nt.loop, addr, 1, options, &server, NULL));
    if (k != NULL)
        assert_ok(neap_server_on_connection(server, keep, k, keeper_gone));
    return server;
}

static neap_server *serve(neap_addr *ret_addr, const neap_server_options *options, keeper *k) {
    neap_addr any = net_loopback();
    neap_server *server = serve_with(&any, options, k);
    assert_ok(neap_sock_local(neap_server_listener(server, 0), ret_addr));
    return server;
}

static neap_server_metrics metrics_of(neap_server *server) {
    neap_server_metrics m;
    assert_int_equal(neap_server_get_metrics(server, &m, sizeof m), sizeof m);
    return m;
}

/* Turns until so many connections were kept. */
static void until_kept(const keeper *k, int n) {
    for (int i = 0; k->n < n && i < 10000; i++)
        assert_true(neap_loop_run_once(nt.loop, NT_MS) >= 0);
    assert_int_equal(k->n, n);
}

/* Closes, waits for the end, and ends the reference. */
static void server_end(neap_server *server) {
    neap_future *closed = NULL;
    const neap_server_close_options now = {
        .size = sizeof now, .grace_ns = -1, .cancel_grace_ns = -1};
    assert_true(neap_server_close(server, &now) >= 0);
    if (neap_server_closed(server, &closed) == NEAP_PENDING) {
        nt_until(closed);
        assert_int_equal(neap_future_error(closed), 0);
        neap_future_unref(closed);
    }
    assert_int_equal(neap_server_state(server), NEAP_SERVER_CLOSED);
    neap_server_unref(server);
}

/* ---- Addresses ------------------------------------------------------------------------------ */

static void N10_a_server_listens_on_a_port_that_the_kernel_chooses(void **state) {
    (void)state;
    keeper k = {0};
    neap_addr addr;
    neap_server *server = serve(&addr, NULL, &k);
    assert_true(neap_addr_port(&addr) > 0);
    int client = net_raw_connect(&addr);
    until_kept(&k, 1);
    net_put(client, "hello");
    net_recv_text(k.socks[0], "hello");
    keeper_end(&k);
    net_close(client);
    server_end(server);
    assert_int_equal(k.gone, 1);
}

static int option(int fd, int name) {
    int value = -1;
    socklen_t len = sizeof value;
    assert_int_equal(getsockopt(fd, SOL_SOCKET, name, &value, &len), 0);
    return value;
}

static void N10_its_sockets_listen_reuse_their_address_and_never_block(void **state) {
    (void)state;
    keeper k = {0};
    neap_addr addr;
    neap_server *server = serve(&addr, NULL, &k);
    int fd = (int)neap_sock_fd(neap_server_listener(server, 0));
    assert_int_equal(option(fd, SO_ACCEPTCONN), 1);
    assert_int_equal(option(fd, SO_REUSEADDR), 1);
    assert_int_equal(option(fd, SO_REUSEPORT), 0);
    assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    server_end(server);
}

static void its_connections_keep_alive_if_that_is_wanted(void **state) {
    (void)state;
    for (int wanted = 0; wanted < 2; wanted++) {
        const neap_server_options options = {.size = sizeof options,
                                             .flags = wanted ? NEAP_SERVER_KEEP_ALIVE : 0};
        const neap_addr loopback = net_loopback();
        neap_server *server = NULL;
        neap_future *future = NULL;
        neap_sock *conn = NULL;
        neap_addr addr, peer;
        assert_ok(neap_server_new(nt.loop, &loopback, 1, &options, &server, NULL));
        assert_ok(neap_sock_local(neap_server_listener(server, 0), &addr));
        int client = net_raw_connect(&addr);
        net_wait(neap_sock_fd(neap_server_listener(server, 0)), POLLIN);
        assert_ok(neap_server_accept(server, 0, &conn, &peer, &future));
        assert_int_equal(option((int)neap_sock_fd(conn), SO_KEEPALIVE), wanted);
        net_end(conn);
        net_close(client);
        server_end(server);
    }
}

static void N10_an_address_in_use_is_told_with_its_index_and_nothing_stays(void **state) {
    (void)state;
    neap_addr taken;
    neap_sock *listener = net_listener(&taken);
    const neap_addr addrs[] = {net_loopback(), taken};
    neap_server *server = NULL;
    size_t failed = 99;
    assert_code(neap_server_new(nt.loop, addrs, 2, NULL, &server, &failed), NEAP_EADDRINUSE);
    assert_int_equal(failed, 1);
    assert_null(server);
    net_end(listener);
}

static void several_addresses_are_served_and_port_0_can_be_shared(void **state) {
    (void)state;
    const neap_server_options one = {.size = sizeof one, .flags = NEAP_SERVER_ONE_PORT};
    const neap_addr addrs[] = {net_addr("127.0.0.1:0"), net_addr("127.0.0.2:0"),
                               net_addr("127.0.0.3:0")};
    keeper k = {0};
    neap_server *server = NULL;
    neap_addr local;
    int clients[3], port = 0;
    assert_ok(neap_server_new(nt.loop, addrs, 3, &one, &server, NULL));
    assert_ok(neap_server_on_connection(server, keep, &k, keeper_gone));
    for (size_t i = 0; i < 3; i++) {
        assert_ok(neap_sock_local(neap_server_listener(server, i), &local));
        port = i == 0 ? neap_addr_port(&local) : port;
        assert_int_equal(neap_addr_port(&local), port);
        clients[i] = net_raw_connect(&local);
    }
    assert_null(neap_server_listener(server, 3));
    until_kept(&k, 3);
    keeper_end(&k);
    for (size_t i = 0; i < 3; i++)
        net_close(clients[i]);
    server_end(server);
}

static void two_servers_share_a_port_if_both_want_that(void **state) {
    (void)state;
    const neap_server_options share = {.size = sizeof share, .flags = NEAP_SERVER_REUSE_PORT};
    neap_addr addr;
    neap_server *first = serve(&addr, &share, NULL);
    neap_server *second = serve_with(&addr, &share, NULL);
    neap_server *third = NULL;
    assert_code(neap_server_new(nt.loop, &addr, 1, NULL, &third, NULL), NEAP_EADDRINUSE);
    server_end(first);
    server_end(second);
}

static void a_listening_socket_can_be_added(void **state) {
    (void)state;
    keeper k = {0};
    neap_addr addr;
    neap_server *server = NULL;
    neap_sock *listener = net_listener(&addr);
    assert_ok(neap_server_new(nt.loop, NULL, 0, NULL, &server, NULL));
    assert_ok(neap_server_on_connection(server, keep, &k, keeper_gone));
    assert_ok(neap_server_add(server, listener));
    neap_sock_unref(listener);
    int client = net_raw_connect(&addr);
    until_kept(&k, 1);
    keeper_end(&k);
    net_close(client);
    server_end(server);
}

static void a_socket_that_does_not_listen_cannot_be_added(void **state) {
    (void)state;
    neap_addr addr;
    neap_server *server = serve(&addr, NULL, NULL);
    for (int32_t sort = NEAP_TCP; sort <= NEAP_UDP; sort += NEAP_UDP - NEAP_TCP) {
        for (int32_t family = NEAP_AF_UNSPEC; family <= NEAP_AF_INET; family += NEAP_AF_INET) {
            neap_sock *sock = NULL;
            assert_ok(neap_sock_new(nt.loop, sort, family, &sock));
            assert_code(neap_server_add(server, sock), NEAP_EINVAL);
            net_end(sock);
        }
    }
    server_end(server);
}

/* ---- Unix paths ------------------------------------------------------------------------------ */

static const char *path_for(char *buf, size_t cap) {
    snprintf(buf, cap, "/tmp/neap-server-%d.sock", (int)getpid());
    unlink(buf);
    return buf;
}

static int exists(const char *path) {
    struct stat st;
    return lstat(path, &st) == 0;
}

static void a_unix_path_goes_with_its_server(void **state) {
    (void)state;
    char path[108];
    neap_addr addr = net_addr(path_for(path, sizeof path));
    keeper k = {0};
    neap_server *server = serve_with(&addr, NULL, &k);
    assert_true(exists(path));
    int client = net_raw_connect(&addr);
    until_kept(&k, 1);
    keeper_end(&k);
    net_close(client);
    server_end(server);
    assert_false(exists(path));
}

static void a_unix_path_stays_if_asked_for(void **state) {
    (void)state;
    char path[108];
    const neap_server_options keep_it = {.size = sizeof keep_it, .flags = NEAP_SERVER_KEEP_PATHS};
    neap_addr addr = net_addr(path_for(path, sizeof path));
    server_end(serve_with(&addr, &keep_it, NULL));
    assert_true(exists(path));
    assert_int_equal(unlink(path), 0);
}

static void a_path_that_is_another_file_by_then_stays(void **state) {
    (void)state;
    char path[108];
    neap_addr addr = net_addr(path_for(path, sizeof path));
    neap_server *first = serve_with(&addr, NULL, NULL);
    assert_int_equal(unlink(path), 0);
    neap_server *second = serve_with(&addr, NULL, NULL);
    server_end(first);
    assert_true(exists(path));
    server_end(second);
    assert_false(exists(path));
}

static void the_socket_file_of_a_dead_server_is_replaced(void **state) {
    (void)state;
    char path[108];
    neap_addr addr = net_addr(path_for(path, sizeof path));
    neap_addr same;
    net_close(net_raw_listen(&addr, 1, &same)); /* its file stays */
    assert_true(exists(path));
    server_end(serve_with(&addr, NULL, NULL));
    assert_false(exists(path));
}

static void the_socket_file_of_a_server_that_answers_is_not(void **state) {
    (void)state;
    char path[108];
    neap_addr addr = net_addr(path_for(path, sizeof path));
    neap_server *other = NULL;
    neap_addr same;
    int listener = net_raw_listen(&addr, 1, &same);
    assert_code(neap_server_new(nt.loop, &addr, 1, NULL, &other, NULL), NEAP_EADDRINUSE);
    assert_true(exists(path));
    net_close(listener);
    unlink(path);
}

static void a_file_that_is_no_socket_is_not_replaced(void **state) {
    (void)state;
    char path[108];
    neap_addr addr = net_addr(path_for(path, sizeof path));
    neap_server *server = NULL;
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
    assert_code(neap_server_new(nt.loop, &addr, 1, NULL, &server, NULL), NEAP_EADDRINUSE);
    assert_int_equal(unlink(path), 0);
}

/* ---- Accepting ------------------------------------------------------------------------------ */

static void a_turn_accepts_no_more_than_its_batch(void **state) {
    (void)state;
    const neap_server_options small = {.size = sizeof small, .batch = 3};
    keeper k = {0};
    neap_addr addr;
    int clients[8];
    neap_server *server = serve(&addr, &small, &k);
    for (int i = 0; i < 8; i++)
        clients[i] = net_raw_connect(&addr);
    net_wait(neap_sock_fd(neap_server_listener(server, 0)), POLLIN);
    for (int before = 0; k.n < 8; before = k.n) {
        nt_turn();
        assert_true(k.n - before <= 3);
    }
    keeper_end(&k);
    for (int i = 0; i < 8; i++)
        net_close(clients[i]);
    server_end(server);
}

static void listeners_have_their_turns(void **state) {
    (void)state;
    const neap_server_options one = {.size = sizeof one, .batch = 1};
    const neap_addr addrs[] = {net_addr("127.0.0.1:0"), net_addr("127.0.0.2:0")};
    keeper k = {0};
    neap_server *server = NULL;
    neap_addr local[2];
    int clients[8];
    assert_ok(neap_server_new(nt.loop, addrs, 2, &one, &server, NULL));
    for (size_t i = 0; i < 2; i++)
        assert_ok(neap_sock_local(neap_server_listener(server, i), &local[i]));
    for (size_t i = 0; i < 8; i++)
        clients[i] = net_raw_connect(&local[i >= 6]);
    assert_ok(neap_server_on_connection(server, keep, &k, keeper_gone));
    until_kept(&k, 4);
    int second = 0;
    for (int i = 0; i < 4; i++) {
        neap_addr own;
        char text[64];
        assert_ok(neap_sock_local(k.socks[i], &own));
        neap_addr_format(&own, text, sizeof text);
        second += strncmp(text, "127.0.0.2", 9) == 0;
    }
    assert_int_equal(second, 2);
    until_kept(&k, 8);
    keeper_end(&k);
    for (int i = 0; i < 8; i++)
        net_close(clients[i]);
    server_end(server);
}

static void N13_above_max_connections_others_wait_in_the_queue(void **state) {
    (void)state;
    const neap_server_options two = {.size = sizeof two, .max_connections = 2};
    keeper k = {0};
    neap_addr addr;
    int clients[4];
    neap_server *server = serve(&addr, &two, &k);
    for (int i = 0; i < 4; i++)
        clients[i] = net_raw_connect(&addr);
    until_kept(&k, 2);
    nt_settle();
    assert_int_equal(k.n, 2);
    assert_int_equal(metrics_of(server).open, 2);
    net_end(k.socks[0]);
    k.socks[0] = NULL;
    until_kept(&k, 3);
    nt_settle();
    assert_int_equal(k.n, 3);
    keeper_end(&k);
    until_kept(&k, 1);
    keeper_end(&k);
    for (int i = 0; i < 4; i++)
        net_close(clients[i]);
    server_end(server);
}

static void a_full_server_is_not_woken_by_those_who_wait(void **state) {
    (void)state;
    const neap_server_options one = {.size = sizeof one, .max_connections = 1};
    keeper k = {0};
    neap_addr addr;
    int clients[20];
    char byte;
    neap_server *server = serve(&addr, &one, &k);
    nt_settle(); /* it waits now, so the kernel knows it */
    clients[0] = net_raw_connect(&addr);
    until_kept(&k, 1);
    neap_future *future =
        net_park_recv(k.socks[0], &byte, 1); /* so that the loop asks the kernel */
    nt_settle();
    uint64_t events = nt_metrics().events;
    for (int i = 1; i < 20; i++) {
        clients[i] = net_raw_connect(&addr);
        nt_turn();
    }
    nt_settle();
    assert_int_equal(nt_metrics().events, events);
    for (int i = 0; i < 20; i++)
        net_close(clients[i]);
    net_result(future, 0);
    keeper_end(&k);
    server_end(server);
    keeper_end(&k);
}

static void a_paused_server_leaves_connections_in_the_queue(void **state) {
    (void)state;
    const neap_server_options paused = {.size = sizeof paused, .flags = NEAP_SERVER_PAUSED};
    keeper k = {0};
    neap_addr addr;
    neap_server *server = serve(&addr, &paused, &k);
    int client = net_raw_connect(&addr);
    net_wait(neap_sock_fd(neap_server_listener(server, 0)), POLLIN);
    nt_settle();
    assert_int_equal(k.n, 0);
    assert_ok(neap_server_resume(server));
    until_kept(&k, 1);
    assert_ok(neap_server_pause(server));
    int second = net_raw_connect(&addr);
    net_wait(neap_sock_fd(neap_server_listener(server, 0)), POLLIN);
    nt_settle();
    assert_int_equal(k.n, 1);
    assert_ok(neap_server_resume(server));
    until_kept(&k, 2);
    keeper_end(&k);
    net_close(client);
    net_close(second);
    server_end(server);
}

static void the_function_may_pause_and_close_the_server(void **state) {
    (void)state;
    keeper k = {.pause_at = 2, .close_at = 4};
    neap_addr addr;
    int clients[6];
    neap_server *server = serve(&addr, NULL, &k);
    for (int i = 0; i < 6; i++)
        clients[i] = net_raw_connect(&addr);
    until_kept(&k, 2);
    nt_settle();
    assert_int_equal(k.n, 2);
    assert_ok(neap_server_resume(server));
    until_kept(&k, 4);
    assert_int_equal(neap_server_state(server), NEAP_SERVER_CLOSING);
    until_kept(&k, 6); /* they had connected before */
    keeper_end(&k);
    for (int i = 0; i < 6; i++)
        net_close(clients[i]);
    server_end(server);
}

static const int local_key = 0;

static void note_local(neap_server *server, neap_sock *sock, const neap_addr *peer, void *user) {
    void *value = NULL;
    (void)peer;
    assert_int_equal(neap_local_get(neap_server_loop(server), &local_key, &value), 1);
    nt_note("%s", (char *)value);
    assert_ok(neap_local_set(neap_server_loop(server), &local_key, user, NULL));
    net_end(sock);
}

static void the_function_sees_the_values_of_whoever_made_the_server(void **state) {
    (void)state;
    neap_addr addr;
    assert_ok(neap_local_set(nt.loop, &local_key, NT_WORD("maker"), NULL));
    neap_server *server = serve(&addr, NULL, NULL);
    assert_ok(neap_local_set(nt.loop, &local_key, NT_WORD("later"), NULL));
    assert_ok(neap_server_on_connection(server, note_local, NT_WORD("own"), NULL));
    for (int i = 1; i <= 2; i++) {
        int client = net_raw_connect(&addr);
        while (metrics_of(server).accepted < (uint64_t)i)
            nt_turn();
        nt_settle();
        net_close(client);
    }
    assert_notes("maker maker");
    server_end(server);
}

/* ---- By future ------------------------------------------------------------------------------ */

static void a_connection_can_be_asked_for(void **state) {
    (void)state;
    neap_addr addr, peer, own;
    neap_future *future = NULL;
    neap_sock *sock = NULL;
    struct sockaddr_storage raw;
    socklen_t len = sizeof raw;
    neap_server *server = serve(&addr, NULL, NULL);
    assert_code(neap_server_accept(server, NEAP_NOWAIT, &sock, NULL, NULL), NEAP_EAGAIN);
    assert_code(neap_server_accept(server, 0, &sock, &peer, &future), NEAP_PENDING);
    int client = net_raw_connect(&addr);
    nt_until(future);
    assert_ok(neap_future_get_addr(future, &peer));
    assert_ok(neap_future_take_sock(future, &sock));
    neap_future_unref(future);
    assert_int_equal(getsockname(client, (struct sockaddr *)&raw, &len), 0);
    assert_ok(neap_sock_peer(sock, &own));
    assert_int_equal(peer.len, own.len);
    assert_memory_equal(peer.data, own.data, own.len);
    net_end(sock);
    net_close(client);
    server_end(server);
}

static void a_connection_that_is_there_comes_at_once(void **state) {
    (void)state;
    neap_addr addr;
    neap_future *future = NULL;
    neap_sock *sock = NULL;
    neap_server *server = serve(&addr, NULL, NULL);
    int client = net_raw_connect(&addr);
    net_wait(neap_sock_fd(neap_server_listener(server, 0)), POLLIN);
    assert_ok(neap_server_accept(server, 0, &sock, NULL, &future));
    assert_null(future);
    net_end(sock);
    net_close(client);
    client = net_raw_connect(&addr);
    net_wait(neap_sock_fd(neap_server_listener(server, 0)), POLLIN);
    assert_code(neap_server_accept(server, NEAP_WANT_FUTURE, NULL, NULL, &future), NEAP_PENDING);
    net_end(net_accepted(future));
    net_close(client);
    server_end(server);
}

static void who_asks_first_is_served_first_and_a_cancelled_one_loses_nothing(void **state) {
    (void)state;
    neap_addr addr;
    neap_future *futures[3];
    neap_sock *sock = NULL;
    neap_server *server = serve(&addr, NULL, NULL);
    for (int i = 0; i < 3; i++)
        assert_code(neap_server_accept(server, 0, &sock, NULL, &futures[i]), NEAP_PENDING);
    assert_int_equal(neap_future_cancel(futures[0], NULL), 1);
    int client = net_raw_connect(&addr);
    nt_until(futures[1]);
    assert_int_equal(neap_future_done(futures[2]), 0);
    assert_int_equal(neap_future_cancel(futures[1], NULL), 0); /* completed: it has won */
    net_end(net_accepted(futures[1]));
    assert_int_equal(neap_future_cancel(futures[2], NULL), 1);
    neap_future_unref(futures[0]);
    neap_future_unref(futures[2]);
    nt_settle();
    assert_int_equal(nt_metrics().operations, 0); /* nobody waits: nothing is asked of the kernel */
    net_close(client);
    server_end(server);
}

static void a_connection_that_nobody_takes_is_closed_with_its_future(void **state) {
    (void)state;
    neap_addr addr;
    neap_future *future = NULL;
    neap_sock *sock = NULL;
    neap_server *server = serve(&addr, NULL, NULL);
    assert_code(neap_server_accept(server, 0, &sock, NULL, &future), NEAP_PENDING);
    int client = net_raw_connect(&addr);
    nt_until(future);
    assert_int_equal(metrics_of(server).open, 1);
    neap_future_unref(future);
    nt_settle();
    assert_int_equal(metrics_of(server).open, 0);
    net_expect_eof(client);
    net_close(client);
    server_end(server);
}

static void close_refuses_who_waits_for_a_connection(void **state) {
    (void)state;
    neap_addr addr;
    neap_future *future = NULL;
    neap_sock *sock = NULL;
    neap_server *server = serve(&addr, NULL, NULL);
    assert_code(neap_server_accept(server, 0, &sock, NULL, &future), NEAP_PENDING);
    assert_int_equal(neap_server_close(server, NULL), 1);
    net_failure(future, NEAP_ECLOSED);
    assert_code(neap_server_accept(server, 0, &sock, NULL, &future), NEAP_ECLOSED);
    server_end(server);
}

static void function_and_future_exclude_each_other(void **state) {
    (void)state;
    keeper k = {0};
    neap_addr addr;
    neap_future *future = NULL;
    neap_sock *sock = NULL;
    neap_server *server = serve(&addr, NULL, NULL);
    assert_code(neap_server_accept(server, 0, &sock, NULL, &future), NEAP_PENDING);
    assert_code(neap_server_on_connection(server, keep, &k, keeper_gone), NEAP_EINVALID_STATE);
    assert_int_equal(k.gone, 1);
    neap_future_cancel(future, NULL);
    neap_future_unref(future);
    assert_ok(neap_server_on_connection(server, keep, &k, keeper_gone));
    assert_code(neap_server_accept(server, 0, &sock, NULL, &future), NEAP_EINVALID_STATE);
    assert_code(neap_server_on_connection(server, keep, &k, keeper_gone), NEAP_EINVALID_STATE);
    server_end(server);
    assert_int_equal(k.gone, 3);
}

/* ---- The list of connections ------------------------------------------------------------------ */

typedef struct seen {
    uint64_t ids[8];
    int n, with_sock, with_task;
} seen;

static int32_t see(const neap_connection *c, void *user) {
    seen *s = user;
    s->ids[s->n++] = c->id;
    s->with_sock += c->sock != NULL;
    s->with_task += c->task != NULL;
    assert_true(c->peer.len > 0);
    return 0;
}

static void a_server_knows_its_connections_until_they_are_closed(void **state) {
    (void)state;
    keeper k = {0};
    neap_addr addr;
    int clients[3];
    seen s = {0};
    neap_server *server = serve(&addr, NULL, &k);
    for (int i = 0; i < 3; i++)
        clients[i] = net_raw_connect(&addr);
    until_kept(&k, 3);
    assert_ok(neap_server_walk(server, see, &s));
    assert_int_equal(s.n, 3);
    assert_int_equal(s.with_sock, 3);
    net_end(k.socks[1]);
    k.socks[1] = NULL;
    s = (seen){0};
    assert_ok(neap_server_walk(server, see, &s));
    assert_int_equal(s.n, 2);
    assert_int_equal(s.ids[0], 1);
    assert_int_equal(s.ids[1], 3);
    neap_server_metrics m = metrics_of(server);
    assert_int_equal(m.open, 2);
    assert_int_equal(m.accepted, 3);
    keeper_end(&k);
    for (int i = 0; i < 3; i++)
        net_close(clients[i]);
    server_end(server);
}

static void thousands_of_connections_come_and_go_without_a_trace(void **state) {
    (void)state;
    int rounds = nt_slow_machine() ? 20 : 100;
    keeper k = {0};
    neap_addr addr;
    int clients[50];
    uint64_t blocks = 0;
    neap_server *server = serve(&addr, NULL, &k);
    for (int i = 0; i < rounds; i++) {
        for (int n = 0; n < 50; n++)
            clients[n] = net_raw_connect(&addr);
        until_kept(&k, 50);
        for (int n = 0; n < 50; n++) {
            if (n % 2 == 0)
                net_reset(clients[n]);
            else
                net_close(clients[n]);
        }
        keeper_end(&k);
        if (i == rounds / 2)
            blocks = nt_metrics().blocks;
    }
    nt_settle();
    assert_int_equal(nt_metrics().blocks, blocks);
    assert_int_equal(metrics_of(server).open, 0);
    server_end(server);
}

/* ---- Misuse ----------------------------------------------------------------------------------- */

static void wrong_arguments_are_refused(void **state) {
    (void)state;
    neap_addr addr = net_loopback();
    neap_server *server = NULL;
    neap_server_options o = {.size = sizeof o, .flags = 1u << 20};
    assert_code(neap_server_new(NULL, &addr, 1, NULL, &server, NULL), NEAP_EINVAL);
    assert_code(neap_server_new(nt.loop, NULL, 1, NULL, &server, NULL), NEAP_EINVAL);
    assert_code(neap_server_new(nt.loop, &addr, 1, NULL, NULL, NULL), NEAP_EINVAL);
    assert_code(neap_server_new(nt.loop, &addr, 1, &o, &server, NULL), NEAP_EINVAL);
    o = (neap_server_options){.size = sizeof o, .backlog = -1};
    assert_code(neap_server_new(nt.loop, &addr, 1, &o, &server, NULL), NEAP_EINVAL);
    struct {
        neap_server_options o;
        uint64_t more;
    } future = {.o = {.size = sizeof future}, .more = 1};
    assert_code(neap_server_new(nt.loop, &addr, 1, &future.o, &server, NULL), NEAP_E2BIG);
    assert_null(server);
    server = serve(&addr, NULL, NULL);
    assert_code(neap_server_on_connection(server, NULL, NULL, NULL), NEAP_EINVAL);
    assert_code(neap_server_accept(server, 0, NULL, NULL, NULL), NEAP_EINVAL);
    assert_code(neap_server_walk(server, NULL, NULL), NEAP_EINVAL);
    server_end(server);
}

NT_MAIN(NT_TEST(N10_a_server_listens_on_a_port_that_the_kernel_chooses),
        NT_TEST(N10_its_sockets_listen_reuse_their_address_and_never_block),
        NT_TEST(its_connections_keep_alive_if_that_is_wanted),
        NT_TEST(N10_an_address_in_use_is_told_with_its_index_and_nothing_stays),
        NT_TEST(several_addresses_are_served_and_port_0_can_be_shared),
        NT_TEST(two_servers_share_a_port_if_both_want_that),
        NT_TEST(a_listening_socket_can_be_added),
        NT_TEST(a_socket_that_does_not_listen_cannot_be_added),
        NT_TEST(a_unix_path_goes_with_its_server), NT_TEST(a_unix_path_stays_if_asked_for),
        NT_TEST(a_path_that_is_another_file_by_then_stays),
        NT_TEST(the_socket_file_of_a_dead_server_is_replaced),
        NT_TEST(the_socket_file_of_a_server_that_answers_is_not),
        NT_TEST(a_file_that_is_no_socket_is_not_replaced),
        NT_TEST(a_turn_accepts_no_more_than_its_batch), NT_TEST(listeners_have_their_turns),
        NT_TEST(N13_above_max_connections_others_wait_in_the_queue),
        NT_TEST(a_full_server_is_not_woken_by_those_who_wait),
        NT_TEST(a_paused_server_leaves_connections_in_the_queue),
        NT_TEST(the_function_may_pause_and_close_the_server),
        NT_TEST(the_function_sees_the_values_of_whoever_made_the_server),
        NT_TEST(a_connection_can_be_asked_for), NT_TEST(a_connection_that_is_there_comes_at_once),
        NT_TEST(who_asks_first_is_served_first_and_a_cancelled_one_loses_nothing),
        NT_TEST(a_connection_that_nobody_takes_is_closed_with_its_future),
        NT_TEST(close_refuses_who_waits_for_a_connection),
        NT_TEST(function_and_future_exclude_each_other),
        NT_TEST(a_server_knows_its_connections_until_they_are_closed),
        NT_TEST(thousands_of_connections_come_and_go_without_a_trace),
        NT_TEST(wrong_arguments_are_refused))
