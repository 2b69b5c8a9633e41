/* Loops that listen together: who joins whom, where connections go, and what waits for the next loop of a place. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net.h"

enum {
    PLACES = 3
};

static neap_listeners *listeners;
static neap_loop *loops[PLACES];

static neap_loop *loop_at(int32_t place) {
    neap_loop *loop = nt_loop_new(0);
    assert_ok(neap_loop_set_listeners(loop, listeners, place));
    return loop;
}

static void begin(void) {
    assert_ok(neap_listeners_new(&nt.heap.hook, PLACES, &listeners));
    for (int32_t i = 0; i < PLACES; i++)
        loops[i] = loop_at(i);
}

static void end_place(int32_t place) {
    if (loops[place] != NULL)
        nt_loop_end(loops[place]);
    loops[place] = NULL;
}

static void end(void) {
    for (int32_t i = 0; i < PLACES; i++)
        end_place(i);
    neap_listeners_unref(listeners);
}

static neap_sock *bound(neap_loop *loop, int32_t sort, const neap_addr *addr, int32_t code) {
    neap_sock *sock = NULL;
    assert_ok(neap_sock_new(loop, sort, NEAP_AF_UNSPEC, &sock));
    assert_code(neap_sock_bind(sock, addr), code);
    if (code == 0)
        return sock;
    net_end(sock);
    return NULL;
}

static neap_sock *listening(neap_loop *loop, int32_t sort, const neap_addr *addr) {
    neap_sock *sock = bound(loop, sort, addr, 0);
    assert_ok(neap_sock_listen(sock, 0));
    return sock;
}

/* Each place listens at one port that the kernel has chosen. */
static neap_addr listen_all(neap_sock **socks) {
    neap_addr any = net_loopback(), first, other;
    for (int i = 0; i < PLACES; i++) {
        socks[i] = listening(loops[i], NEAP_TCP, &any);
        assert_ok(neap_sock_local(socks[i], i == 0 ? &first : &other));
        if (i > 0)
            assert_int_equal(neap_addr_port(&other), neap_addr_port(&first));
    }
    return first;
}

/* Takes what is in the queue; how many connections that were. */
static int drain(neap_sock *listener) {
    neap_sock *conn = NULL;
    int n = 0;
    while (neap_sock_accept(listener, NEAP_NOWAIT, &conn, NULL, NULL) == 0) {
        net_end(conn);
        n++;
    }
    return n;
}

static void connect_and_leave(const neap_addr *addr, int n) {
    for (int i = 0; i < n; i++)
        net_close(net_raw_connect(addr));
}

/* A connect that may be refused. */
static int try_connect(const neap_addr *addr) {
    int fd = socket((int)addr->family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int code =
        connect(fd, (const struct sockaddr *)(const void *)addr->data, addr->len) == 0 ? 0 : -errno;
    net_close(fd);
    return code;
}

/* ---- Joining */

static void a_port_0_is_one_port_for_all_places(void **state) {
    (void)state;
    neap_sock *socks[PLACES];
    begin();
    (void)listen_all(socks);
    for (int i = 0; i < PLACES; i++)
        net_end(socks[i]);
    end();
}

static void a_second_port_0_of_a_place_is_another_port(void **state) {
    (void)state;
    neap_sock *socks[PLACES], *again[2];
    neap_addr any = net_loopback(), second, third;
    begin();
    neap_addr first = listen_all(socks);
    for (int i = 0; i < 2; i++)
        again[i] = listening(loops[i], NEAP_TCP, &any);
    assert_ok(neap_sock_local(again[0], &second));
    assert_ok(neap_sock_local(again[1], &third));
    assert_int_not_equal(neap_addr_port(&second), neap_addr_port(&first));
    assert_int_equal(neap_addr_port(&second), neap_addr_port(&third));
    for (int i = 0; i < PLACES; i++)
        net_end(socks[i]);
    for (int i = 0; i < 2; i++)
        net_end(again[i]);
    end();
}

static void a_fixed_port_is_bound_once_by_each_place(void **state) {
    (void)state;
    neap_sock *socks[PLACES];
    begin();
    neap_addr addr = listen_all(socks);
    net_end(socks[1]);
    socks[1] = listening(loops[1], NEAP_TCP, &addr);
    (void)bound(loops[1], NEAP_TCP, &addr, NEAP_EADDRINUSE);
    for (int i = 0; i < PLACES; i++)
        net_end(socks[i]);
    end();
}

/* A loop without listeners stands for another process: the kernel's rules are the same for it. */
static void nobody_else_gets_in(void **state) {
    (void)state;
    neap_sock *socks[PLACES], *stranger = NULL;
    begin();
    neap_addr addr = listen_all(socks);
    (void)bound(nt.loop, NEAP_TCP, &addr, NEAP_EADDRINUSE);
    for (int i = 0; i < PLACES; i++)
        net_end(socks[i]);
    assert_ok(neap_sock_new(nt.loop, NEAP_TCP, NEAP_AF_INET, &stranger));
    assert_ok(neap_sock_set_option(stranger, "reuseport", 1));
    assert_ok(neap_sock_bind(stranger, &addr));
    assert_ok(neap_sock_listen(stranger, 0));
    (void)bound(loops[0], NEAP_TCP, &addr, NEAP_EADDRINUSE);
    net_end(stranger);
    end();
}

static void a_socket_that_shares_its_port_itself_is_left_alone(void **state) {
    (void)state;
    neap_sock *own[2] = {NULL, NULL};
    neap_addr addr = net_loopback();
    begin();
    for (int i = 0; i < 2; i++) {
        assert_ok(neap_sock_new(loops[0], NEAP_TCP, NEAP_AF_INET, &own[i]));
        assert_ok(neap_sock_set_option(own[i], "reuseport", 1));
        assert_ok(neap_sock_bind(own[i], &addr));
        assert_ok(neap_sock_local(own[i], &addr));
        assert_ok(neap_sock_listen(own[i], 0));
    }
    net_end(own[0]);
    net_end(own[1]);
    end();
}

static void a_bound_client_shares_nothing(void **state) {
    (void)state;
    neap_sock *socks[PLACES];
    neap_addr any = net_loopback(), a, b;
    begin();
    neap_sock *one = bound(loops[0], NEAP_TCP, &any, 0), *two = bound(loops[1], NEAP_TCP, &any, 0);
    assert_ok(neap_sock_local(one, &a));
    assert_ok(neap_sock_local(two, &b));
    assert_int_not_equal(neap_addr_port(&a), neap_addr_port(&b));
    (void)listen_all(socks);
    for (int i = 0; i < PLACES; i++)
        net_end(socks[i]);
    net_end(one);
    net_end(two);
    end();
}

static void places_of_a_unix_address_have_one_queue(void **state) {
    (void)state;
    neap_addr addr = net_abstract();
    begin();
    neap_sock *a = listening(loops[0], NEAP_UNIX, &addr),
              *b = listening(loops[1], NEAP_UNIX, &addr);
    connect_and_leave(&addr, 3);
    assert_int_equal(drain(b), 3);
    connect_and_leave(&addr, 2);
    assert_int_equal(drain(a), 2);
    net_end(b);
    connect_and_leave(&addr, 1);
    assert_int_equal(drain(a), 1);
    net_end(a);
    assert_code(try_connect(&addr), NEAP_ECONNREFUSED);
    end();
}

static void a_path_that_was_removed_is_bound_anew(void **state) {
    (void)state;
    char path[64];
    begin();
    snprintf(path, sizeof path, "/tmp/neap-listeners-%d", (int)getpid());
    neap_addr addr = net_addr(path);
    neap_sock *a = listening(loops[0], NEAP_UNIX, &addr);
    assert_int_equal(unlink(path), 0);
    neap_sock *b = listening(loops[1], NEAP_UNIX, &addr);
    connect_and_leave(&addr, 2);
    assert_int_equal(drain(a), 0);
    assert_int_equal(drain(b), 2);
    net_end(a);
    net_end(b);
    assert_int_equal(unlink(path), 0);
    end();
}

static void datagrams_of_a_port_reach_one_place_each(void **state) {
    (void)state;
    neap_sock *socks[PLACES];
    neap_addr any = net_loopback(), addr;
    int got = 0;
    begin();
    neap_sock *probe = bound(nt.loop, NEAP_UDP, &any, 0);
    assert_ok(neap_sock_local(probe, &addr));
    net_end(probe);
    for (int i = 0; i < PLACES; i++)
        socks[i] = bound(loops[i], NEAP_UDP, &addr, 0);
    for (int i = 0; i < 8; i++) {
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        assert_int_equal(
            sendto(fd, "x", 1, 0, (const struct sockaddr *)(const void *)addr.data, addr.len), 1);
        net_close(fd);
    }
    char byte;
    for (int i = 0; i < PLACES; i++)
        while (neap_sock_recv(socks[i], &byte, 1, NEAP_NOWAIT, NULL) == 1)
            got++;
    assert_int_equal(got, 8);
    for (int i = 0; i < PLACES; i++)
        net_end(socks[i]);
    end();
}

/* ---- Where connections go */

static void each_place_gets_its_part(void **state) {
    (void)state;
    neap_sock *socks[PLACES];
    int total = 0;
    begin();
    neap_addr addr = listen_all(socks);
    connect_and_leave(&addr, 120);
    for (int i = 0; i < PLACES; i++) {
        int n = drain(socks[i]);
        assert_true(n > 0); /* that one gets none has the probability of 1 to 10^21 */
        total += n;
        net_end(socks[i]);
    }
    assert_int_equal(total, 120);
    end();
}

static void a_queue_waits_for_the_next_loop_of_its_place(void **state) {
    (void)state;
    neap_sock *socks[PLACES];
    begin();
    neap_addr addr = listen_all(socks);
    connect_and_leave(&addr, 60);
    end_place(0);
    net_end(socks[0]);
    loops[0] = loop_at(0);
    socks[0] = listening(loops[0], NEAP_TCP, &addr);
    int total = 0, first = drain(socks[0]);
    assert_true(first > 0);
    for (int i = 1; i < PLACES; i++)
        total += drain(socks[i]);
    assert_int_equal(first + total, 60);
    for (int i = 0; i < PLACES; i++)
        net_end(socks[i]);
    end();
}

static void the_only_place_keeps_its_queue_too(void **state) {
    (void)state;
    neap_addr any = net_loopback(), addr;
    begin();
    neap_sock *sock = listening(loops[0], NEAP_TCP, &any);
    assert_ok(neap_sock_local(sock, &addr));
    end_place(0);
    net_end(sock);
    connect_and_leave(&addr, 5);
    loops[0] = loop_at(0);
    sock = listening(loops[0], NEAP_TCP, &any);
    assert_int_equal(drain(sock), 5);
    net_end(sock);
    end();
}

static void while_a_place_is_empty_the_others_get_all(void **state) {
    (void)state;
    neap_sock *socks[PLACES];
    begin();
    neap_addr addr = listen_all(socks);
    end_place(1);
    net_end(socks[1]);
    connect_and_leave(&addr, 60);
    int a = drain(socks[0]), b = drain(socks[2]);
    assert_true(a > 0 && b > 0);
    assert_int_equal(a + b, 60);
    loops[1] = loop_at(1);
    socks[1] = listening(loops[1], NEAP_TCP, &addr);
    assert_int_equal(drain(socks[1]), 0);
    connect_and_leave(&addr, 120);
    assert_true(drain(socks[1]) > 0);
    for (int i = 0; i < PLACES; i++)
        net_end(socks[i]);
    end();
}

static void a_shutdown_keeps_what_it_closes(void **state) {
    (void)state;
    neap_addr any = net_loopback(), addr;
    begin();
    neap_sock *sock = listening(loops[0], NEAP_TCP, &any);
    assert_ok(neap_sock_local(sock, &addr));
    assert_int_equal(neap_loop_begin_shutdown(loops[0], NULL), 1);
    net_end(sock);
    assert_code(try_connect(&addr), 0);
    end();
}

/* ---- Leaving */

static void a_close_gives_the_place_up(void **state) {
    (void)state;
    neap_sock *socks[PLACES];
    begin();
    neap_addr addr = listen_all(socks);
    net_end(socks[0]);
    connect_and_leave(&addr, 40);
    assert_int_equal(drain(socks[1]) + drain(socks[2]), 40);
    end_place(1); /* the numbers of the kernel have moved */
    net_end(socks[1]);
    connect_and_leave(&addr, 40);
    assert_int_equal(drain(socks[2]), 40);
    net_end(socks[2]);
    assert_ok(neap_listeners_leave(listeners, 1));
    assert_code(try_connect(&addr), NEAP_ECONNREFUSED);
    end();
}

static void what_is_kept_for_a_place_goes_when_it_leaves(void **state) {
    (void)state;
    neap_addr any = net_loopback(), addr;
    begin();
    neap_sock *sock = listening(loops[0], NEAP_TCP, &any);
    assert_ok(neap_sock_local(sock, &addr));
    end_place(0);
    net_end(sock);
    assert_code(try_connect(&addr), 0);
    assert_ok(neap_listeners_leave(listeners, 0));
    assert_code(try_connect(&addr), NEAP_ECONNREFUSED);
    end();
}

static void a_place_that_left_keeps_nothing_more(void **state) {
    (void)state;
    neap_addr any = net_loopback(), addr;
    begin();
    neap_sock *sock = listening(loops[0], NEAP_TCP, &any);
    assert_ok(neap_sock_local(sock, &addr));
    assert_ok(neap_listeners_leave(listeners, 0));
    assert_code(try_connect(&addr), 0);
    end_place(0);
    net_end(sock);
    assert_code(try_connect(&addr), NEAP_ECONNREFUSED);
    end();
}

/* ---- Servers */

static neap_server *serve(neap_loop *loop, const neap_addr *addr) {
    neap_server *server = NULL;
    assert_ok(neap_server_new(loop, addr, 1, NULL, &server, NULL));
    return server;
}

static void end_server(neap_server *server) {
    assert_true(neap_server_close(server, NULL) >= 0);
    neap_server_unref(server);
}

static void the_last_server_of_a_path_removes_its_file(void **state) {
    (void)state;
    char path[64];
    begin();
    snprintf(path, sizeof path, "/tmp/neap-servers-%d", (int)getpid());
    neap_addr addr = net_addr(path);
    neap_server *a = serve(loops[0], &addr), *b = serve(loops[1], &addr);
    end_server(a);
    assert_int_equal(access(path, F_OK), 0);
    assert_code(try_connect(&addr), 0);
    end_server(b);
    assert_int_equal(access(path, F_OK), -1);
    end();
}

static void a_server_of_the_next_loop_finds_the_queue(void **state) {
    (void)state;
    char path[64];
    neap_sock *conn = NULL;
    begin();
    snprintf(path, sizeof path, "/tmp/neap-servers-%d", (int)getpid());
    neap_addr addr = net_addr(path);
    neap_server *server = serve(loops[0], &addr);
    assert_int_equal(neap_loop_begin_shutdown(loops[0], NULL), 1);
    connect_and_leave(&addr, 1);
    end_server(server);
    end_place(0);
    loops[0] = loop_at(0);
    server = serve(loops[0], &addr);
    assert_ok(neap_server_accept(server, NEAP_NOWAIT, &conn, NULL, NULL));
    net_end(conn);
    end_server(server);
    assert_int_equal(access(path, F_OK), -1);
    end();
}

/* ---- Refusals */

static void what_makes_no_sense_is_refused(void **state) {
    (void)state;
    neap_listeners *none = NULL;
    assert_code(neap_listeners_new(NULL, 0, &none), NEAP_EINVAL);
    assert_code(neap_listeners_new(NULL, 257, &none), NEAP_EINVAL);
    assert_code(neap_listeners_new(NULL, 1, NULL), NEAP_EINVAL);
    begin();
    assert_code(neap_loop_set_listeners(nt.loop, listeners, PLACES), NEAP_EINVAL);
    assert_code(neap_loop_set_listeners(nt.loop, listeners, -1), NEAP_EINVAL);
    assert_code(neap_loop_set_listeners(nt.loop, listeners, 0), NEAP_EBUSY);
    assert_code(neap_loop_set_listeners(loops[0], listeners, 0), NEAP_EINVALID_STATE);
    assert_code(neap_listeners_leave(listeners, PLACES), NEAP_EINVAL);
    assert_code(neap_listeners_leave(NULL, 0), NEAP_EINVAL);
    end_place(0);
    assert_ok(neap_loop_set_listeners(nt.loop, listeners, 0));
    end();
}

static void a_bound_socket_is_not_bound_again(void **state) {
    (void)state;
    neap_sock *socks[PLACES];
    begin();
    neap_addr addr = listen_all(socks);
    assert_code(neap_sock_bind(socks[0], &addr), NEAP_EINVAL);
    for (int i = 0; i < PLACES; i++)
        net_end(socks[i]);
    end();
}

/* ---- Threads */

enum {
    ROUNDS = 60
};

/* A worker that listens, takes what is there, and comes back, again and again. */
static void *come_and_go(void *user) {
    int32_t place = (int32_t)(intptr_t)user;
    neap_addr any = net_loopback();
    for (int i = 0; i < ROUNDS; i++) {
        neap_loop *loop = loop_at(place);
        neap_sock *sock = listening(loop, NEAP_TCP, &any);
        (void)drain(sock);
        if (i % 3 == 0)
            assert_ok(neap_sock_close(sock));
        nt_loop_end(loop);
        neap_sock_unref(sock);
    }
    return NULL;
}

static void threads_come_and_go_at_one_address(void **state) {
    (void)state;
    pthread_t threads[PLACES];
    assert_ok(neap_listeners_new(&nt.heap.hook, PLACES, &listeners));
    for (intptr_t i = 0; i < PLACES; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, (void *)i), 0);
    for (int i = 0; i < PLACES; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    neap_listeners_unref(listeners);
}

NT_MAIN(NT_TEST(a_port_0_is_one_port_for_all_places),
        NT_TEST(a_second_port_0_of_a_place_is_another_port),
        NT_TEST(a_fixed_port_is_bound_once_by_each_place), NT_TEST(nobody_else_gets_in),
        NT_TEST(a_socket_that_shares_its_port_itself_is_left_alone),
        NT_TEST(a_bound_client_shares_nothing), NT_TEST(places_of_a_unix_address_have_one_queue),
        NT_TEST(a_path_that_was_removed_is_bound_anew),
        NT_TEST(datagrams_of_a_port_reach_one_place_each), NT_TEST(each_place_gets_its_part),
        NT_TEST(a_queue_waits_for_the_next_loop_of_its_place),
        NT_TEST(the_only_place_keeps_its_queue_too),
        NT_TEST(while_a_place_is_empty_the_others_get_all),
        NT_TEST(a_shutdown_keeps_what_it_closes), NT_TEST(a_close_gives_the_place_up),
        NT_TEST(what_is_kept_for_a_place_goes_when_it_leaves),
        NT_TEST(a_place_that_left_keeps_nothing_more),
        NT_TEST(the_last_server_of_a_path_removes_its_file),
        NT_TEST(a_server_of_the_next_loop_finds_the_queue), NT_TEST(what_makes_no_sense_is_refused),
        NT_TEST(a_bound_socket_is_not_bound_again), NT_TEST(threads_come_and_go_at_one_address))
