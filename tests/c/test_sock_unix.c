/* Unix sockets: paths, abstract names, unnamed ends, pairs. */
#include "net.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* A directory of this test's own. */
static void make_dir(char dir[64]) {
    snprintf(dir, 64, "/tmp/neap-test-XXXXXX");
    assert_non_null(mkdtemp(dir));
}

static void expect_format(const neap_addr *addr, const char *text) {
    char buf[256];
    assert_int_equal(neap_addr_format(addr, buf, sizeof buf), strlen(text));
    assert_string_equal(buf, text);
}

static neap_sock *unix_listener(const neap_addr *addr) {
    neap_sock *listener = NULL;
    assert_ok(neap_sock_new(nt.loop, NEAP_UNIX, NEAP_AF_UNSPEC, &listener));
    assert_ok(neap_sock_bind(listener, addr));
    assert_ok(neap_sock_listen(listener, 0));
    return listener;
}

/* Connects a client of neap's to the listener, and exchanges a word. */
static void expect_exchange(neap_sock *listener, const neap_addr *addr) {
    neap_sock *client = NULL;
    neap_future *future = NULL;
    assert_ok(neap_sock_new(nt.loop, NEAP_UNIX, NEAP_AF_UNIX, &client));
    assert_ok(neap_sock_connect(client, addr, 0, &future)); /* a queue with room answers at once */
    assert_null(future);
    neap_sock *conn = net_accept_now(listener);
    assert_int_equal(neap_sock_sendall(client, "word", 4, 0, &future), 4);
    net_recv_text(conn, "word");
    net_end(conn);
    net_end(client);
}

static void a_path_serves_as_an_address(void **state) {
    (void)state;
    char dir[64];
    char path[96];
    neap_addr local;
    neap_addr peer;
    make_dir(dir);
    snprintf(path, sizeof path, "%s/sock", dir);
    neap_addr addr = net_addr(path);
    assert_int_equal(addr.family, NEAP_AF_UNIX);
    neap_sock *listener = unix_listener(&addr);
    assert_ok(neap_sock_local(listener, &local));
    expect_format(&local, path);
    expect_exchange(listener, &addr);
    neap_future *future = net_park_accept(listener);
    int client = net_raw_connect(&addr);
    neap_sock *conn = net_accepted(future);
    assert_ok(neap_sock_peer(conn, &peer));
    expect_format(&peer, ""); /* the client has no name */
    net_end(conn);
    net_close(client);
    net_end(listener);
    assert_int_equal(unlink(path), 0); /* the file is the caller's to remove */
    assert_int_equal(rmdir(dir), 0);
}

static void a_path_with_a_prefix_needs_no_slash(void **state) {
    (void)state;
    char dir[64];
    char path[96];
    make_dir(dir);
    int old = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(old >= 0);
    assert_int_equal(chdir(dir), 0);
    neap_addr addr = net_addr("unix:here");
    neap_sock *listener = unix_listener(&addr);
    expect_exchange(listener, &addr);
    net_end(listener);
    assert_int_equal(fchdir(old), 0);
    net_close(old);
    snprintf(path, sizeof path, "%s/here", dir);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
}

static void an_abstract_name_leaves_no_file(void **state) {
    (void)state;
    neap_addr addr = net_abstract();
    neap_addr local;
    char text[128];
    assert_int_equal(addr.family, NEAP_AF_UNIX);
    neap_sock *listener = unix_listener(&addr);
    assert_ok(neap_sock_local(listener, &local));
    neap_addr_format(&addr, text, sizeof text);
    expect_format(&local, text);
    assert_int_equal(text[0], '@');
    expect_exchange(listener, &addr);
    net_end(listener);
}

static void two_listeners_of_one_name_are_refused(void **state) {
    (void)state;
    neap_addr addr = net_abstract();
    neap_sock *listener = unix_listener(&addr);
    neap_sock *second = NULL;
    assert_ok(neap_sock_new(nt.loop, NEAP_UNIX, NEAP_AF_UNSPEC, &second));
    assert_code(neap_sock_bind(second, &addr), NEAP_EADDRINUSE);
    net_end(second);
    net_end(listener);
}

static void N5_connect_to_a_name_that_nobody_has_fails(void **state) {
    (void)state;
    neap_addr absent = net_abstract();
    neap_addr path = net_addr("/nonexistent/neap/sock");
    neap_sock *sock = NULL;
    neap_future *future = NULL;
    assert_ok(neap_sock_new(nt.loop, NEAP_UNIX, NEAP_AF_UNIX, &sock));
    assert_code(neap_sock_connect(sock, &absent, 0, &future), NEAP_ECONNREFUSED);
    assert_code(neap_sock_connect(sock, &path, 0, &future), NEAP_ENOENT);
    assert_null(future);
    net_end(sock);
}

static void connect_to_a_full_queue_does_not_hang_and_does_not_pretend(void **state) {
    (void)state;
    enum {
        N = 6
    };
    neap_addr addr = net_abstract();
    neap_addr bound;
    int listener = net_raw_listen(&addr, 0, &bound);
    neap_sock *socks[N];
    int refused = 0;
    int connected = 0;
    /* The kernel answers EAGAIN and would tell nobody when there is room: so it is a failure, not a
       wait. */
    for (int i = 0; i < N; i++) {
        neap_future *future = NULL;
        assert_ok(neap_sock_new(nt.loop, NEAP_UNIX, NEAP_AF_UNIX, &socks[i]));
        int32_t code = neap_sock_connect(socks[i], &addr, 0, &future);
        assert_null(future);
        assert_true(code == 0 || code == NEAP_EAGAIN);
        connected += code == 0;
        refused += code == NEAP_EAGAIN;
    }
    assert_true(connected > 0);
    assert_true(refused > 0);
    for (int i = 0; i < N; i++)
        net_end(socks[i]);
    net_close(listener);
}

static void a_pair_is_connected_both_ways(void **state) {
    (void)state;
    neap_sock *a = NULL;
    neap_sock *b = NULL;
    neap_future *future = NULL;
    neap_addr addr;
    assert_ok(neap_sock_pair(nt.loop, NEAP_UNIX, &a, &b));
    assert_true((fcntl((int)neap_sock_fd(a), F_GETFL) & O_NONBLOCK) != 0);
    assert_true((fcntl((int)neap_sock_fd(b), F_GETFD) & FD_CLOEXEC) != 0);
    assert_int_equal(neap_sock_sendall(a, "there", 5, 0, &future), 5);
    net_recv_text(b, "there");
    assert_int_equal(neap_sock_sendall(b, "back", 4, 0, &future), 4);
    net_recv_text(a, "back");
    assert_ok(neap_sock_local(a, &addr));
    expect_format(&addr, "");
    net_end(a);
    char buf[8];
    assert_code(neap_sock_recv(b, buf, sizeof buf, NEAP_NOWAIT, NULL), 0);
    net_end(b);
}

static void a_pair_of_another_sort_is_refused(void **state) {
    (void)state;
    neap_sock *a = NULL;
    neap_sock *b = NULL;
    assert_true(neap_sock_pair(nt.loop, NEAP_TCP, &a, &b) < 0);
    assert_code(neap_sock_pair(nt.loop, NEAP_UNIX, &a, NULL), NEAP_EINVAL);
    assert_null(a);
    assert_null(b);
}

static void datagrams_carry_the_name_of_their_sender(void **state) {
    (void)state;
    neap_addr to = net_abstract();
    neap_addr own = net_abstract();
    neap_addr from = {0};
    neap_sock *a = NULL;
    neap_sock *b = NULL;
    neap_sock *nameless = NULL;
    neap_future *future = NULL;
    char buf[8];
    char text[128];
    assert_ok(neap_sock_new(nt.loop, NEAP_UNIX_DGRAM, NEAP_AF_UNSPEC, &a));
    assert_ok(neap_sock_new(nt.loop, NEAP_UNIX_DGRAM, NEAP_AF_UNSPEC, &b));
    assert_ok(neap_sock_new(nt.loop, NEAP_UNIX_DGRAM, NEAP_AF_UNIX, &nameless));
    assert_ok(neap_sock_bind(a, &to));
    assert_ok(neap_sock_bind(b, &own));
    assert_int_equal(neap_sock_sendto(b, "named", 5, &to, 0, &future), 5);
    assert_int_equal(neap_sock_sendto(nameless, "not", 3, &to, 0, &future), 3);
    assert_int_equal(neap_sock_recvfrom(a, buf, sizeof buf, 0, &from, &future), 5);
    neap_addr_format(&own, text, sizeof text);
    expect_format(&from, text);
    assert_int_equal(neap_sock_recvfrom(a, buf, sizeof buf, 0, &from, &future), 3);
    expect_format(&from, "");
    net_end(a);
    net_end(b);
    net_end(nameless);
}

NT_MAIN(NT_TEST(a_path_serves_as_an_address), NT_TEST(a_path_with_a_prefix_needs_no_slash),
        NT_TEST(an_abstract_name_leaves_no_file), NT_TEST(two_listeners_of_one_name_are_refused),
        NT_TEST(N5_connect_to_a_name_that_nobody_has_fails),
        NT_TEST(connect_to_a_full_queue_does_not_hang_and_does_not_pretend),
        NT_TEST(a_pair_is_connected_both_ways), NT_TEST(a_pair_of_another_sort_is_refused),
        NT_TEST(datagrams_carry_the_name_of_their_sender))
