/* Options by name, and the names of sockets. */
#include "net.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int raw_option(neap_sock *sock, int level, int name) {
    int value = -1;
    socklen_t len = sizeof value;
    assert_int_equal(getsockopt((int)neap_sock_fd(sock), level, name, &value, &len), 0);
    return value;
}

static void flags_reach_the_kernel_and_come_back(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int level;
        int option;
    } flags[] = {
        {"reuseaddr", SOL_SOCKET, SO_REUSEADDR}, {"reuseport", SOL_SOCKET, SO_REUSEPORT},
        {"nodelay", IPPROTO_TCP, TCP_NODELAY},   {"keepalive", SOL_SOCKET, SO_KEEPALIVE},
        {"broadcast", SOL_SOCKET, SO_BROADCAST}, {"oobinline", SOL_SOCKET, SO_OOBINLINE},
        {"cork", IPPROTO_TCP, TCP_CORK},
    };
    neap_sock *sock = NULL;
    assert_ok(neap_sock_new(nt.loop, NEAP_TCP, NEAP_AF_INET, &sock));
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        for (int32_t on = 1; on >= 0; on--) {
            int32_t value = -1;
            assert_ok(neap_sock_set_option(sock, flags[i].name, on));
            assert_int_equal(!!raw_option(sock, flags[i].level, flags[i].option), on);
            assert_ok(neap_sock_get_option(sock, flags[i].name, &value));
            assert_int_equal(!!value, on);
        }
    }
    net_end(sock);
}

static void numbers_reach_the_kernel_and_come_back(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int level;
        int option;
        int32_t value;
    } numbers[] = {
        {"keepidle", IPPROTO_TCP, TCP_KEEPIDLE, 77},
        {"keepintvl", IPPROTO_TCP, TCP_KEEPINTVL, 7},
        {"keepcnt", IPPROTO_TCP, TCP_KEEPCNT, 5},
        {"priority", SOL_SOCKET, SO_PRIORITY, 3},
    };
    neap_sock *sock = NULL;
    assert_ok(neap_sock_new(nt.loop, NEAP_TCP, NEAP_AF_INET, &sock));
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        int32_t value = -1;
        assert_ok(neap_sock_set_option(sock, numbers[i].name, numbers[i].value));
        assert_int_equal(raw_option(sock, numbers[i].level, numbers[i].option), numbers[i].value);
        assert_ok(neap_sock_get_option(sock, numbers[i].name, &value));
        assert_int_equal(value, numbers[i].value);
    }
    net_end(sock);
}

static void buffer_sizes_are_at_least_what_was_asked(void **state) {
    (void)state;
    neap_sock *sock = NULL;
    int32_t value = 0;
    assert_ok(neap_sock_new(nt.loop, NEAP_TCP, NEAP_AF_INET, &sock));
    assert_ok(neap_sock_set_option(sock, "sndbuf", 20000));
    assert_ok(neap_sock_get_option(sock, "sndbuf", &value));
    assert_true(value >= 20000);
    assert_ok(neap_sock_set_option(sock, "rcvbuf", 30000));
    assert_ok(neap_sock_get_option(sock, "rcvbuf", &value));
    assert_true(value >= 30000);
    net_end(sock);
}

static void linger_is_in_seconds_and_minus_one_is_off(void **state) {
    (void)state;
    neap_sock *sock = NULL;
    int32_t value = 0;
    assert_ok(neap_sock_new(nt.loop, NEAP_TCP, NEAP_AF_INET, &sock));
    assert_ok(neap_sock_get_option(sock, "linger", &value));
    assert_int_equal(value, -1);
    assert_ok(neap_sock_set_option(sock, "linger", 5));
    assert_ok(neap_sock_get_option(sock, "linger", &value));
    assert_int_equal(value, 5);
    assert_ok(neap_sock_set_option(sock, "linger", -1));
    assert_ok(neap_sock_get_option(sock, "linger", &value));
    assert_int_equal(value, -1);
    net_end(sock);
}

static void linger_zero_closes_with_a_reset(void **state) {
    (void)state;
    int peer;
    char c;
    neap_sock *conn = net_tcp(&peer);
    assert_ok(neap_sock_set_option(conn, "linger", 0));
    net_end(conn);
    net_wait(peer, POLLIN);
    assert_int_equal(recv(peer, &c, 1, 0), -1);
    net_close(peer);
}

static void v6only_exists_on_ipv6_alone(void **state) {
    (void)state;
    neap_sock *sock = NULL;
    int32_t value = -1;
    assert_ok(neap_sock_new(nt.loop, NEAP_TCP, NEAP_AF_INET6, &sock));
    assert_ok(neap_sock_set_option(sock, "v6only", 1));
    assert_ok(neap_sock_get_option(sock, "v6only", &value));
    assert_int_equal(value, 1);
    net_end(sock);
    assert_ok(neap_sock_new(nt.loop, NEAP_TCP, NEAP_AF_INET, &sock));
    assert_true(neap_sock_set_option(sock, "v6only", 1) < 0);
    net_end(sock);
}

static void an_unknown_option_answers_evalue(void **state) {
    (void)state;
    neap_sock *sock = NULL;
    int32_t value = 42;
    assert_ok(neap_sock_new(nt.loop, NEAP_TCP, NEAP_AF_INET, &sock));
    assert_code(neap_sock_set_option(sock, "no such option", 1), NEAP_EVALUE);
    assert_code(neap_sock_set_option(sock, "", 1), NEAP_EVALUE);
    assert_code(neap_sock_set_option(sock, "NODELAY", 1), NEAP_EVALUE);
    assert_code(neap_sock_get_option(sock, "no such option", &value), NEAP_EVALUE);
    assert_code(neap_sock_get_option(sock, "nodelay", NULL), NEAP_EINVAL);
    assert_code(neap_sock_set_option(sock, NULL, 1), NEAP_EINVAL);
    assert_int_equal(value, 42);
    net_end(sock);
}

static void type_and_error_can_only_be_read(void **state) {
    (void)state;
    neap_sock *sock = NULL;
    int32_t value = -1;
    assert_ok(neap_sock_new(nt.loop, NEAP_UDP, NEAP_AF_INET, &sock));
    assert_ok(neap_sock_get_option(sock, "type", &value));
    assert_int_equal(value, SOCK_DGRAM);
    assert_ok(neap_sock_get_option(sock, "error", &value));
    assert_int_equal(value, 0);
    assert_true(neap_sock_set_option(sock, "type", 1) < 0);
    assert_true(neap_sock_set_option(sock, "error", 1) < 0);
    net_end(sock);
}

static void the_user_at_the_other_end_is_known_of_unix_streams(void **state) {
    (void)state;
    neap_sock *a = NULL, *b = NULL, *tcp = NULL;
    int32_t user = -1;
    assert_ok(neap_sock_pair(nt.loop, NEAP_UNIX, &a, &b));
    assert_ok(neap_sock_get_option(a, "peeruid", &user));
    assert_int_equal(user, (int32_t)geteuid());
    assert_code(neap_sock_set_option(a, "peeruid", 0), NEAP_EVALUE);
    assert_ok(neap_sock_new(nt.loop, NEAP_TCP, NEAP_AF_INET, &tcp));
    assert_code(neap_sock_get_option(tcp, "peeruid", &user), NEAP_ENOTSUP);
    neap_sock_unref(a);
    neap_sock_unref(b);
    neap_sock_unref(tcp);
}

static void error_is_told_once(void **state) {
    (void)state;
    int peer;
    int32_t value = 0;
    neap_sock *conn = net_tcp(&peer);
    net_reset(peer);
    net_wait(neap_sock_fd(conn), POLLIN);
    assert_ok(neap_sock_get_option(conn, "error", &value));
    assert_true(value != 0);
    assert_ok(neap_sock_get_option(conn, "error", &value));
    assert_int_equal(value, 0);
    net_end(conn);
}

static void options_need_an_open_descriptor_or_are_kept_for_it(void **state) {
    (void)state;
    neap_sock *sock = NULL;
    neap_addr any = net_loopback();
    assert_ok(neap_sock_new(nt.loop, NEAP_TCP, NEAP_AF_UNSPEC, &sock));
    int32_t code = neap_sock_set_option(sock, "keepalive", 1);
    assert_true(code == 0 || code == NEAP_EBADF);
    assert_ok(neap_sock_bind(sock, &any));
    if (code == 0)
        assert_int_equal(raw_option(sock, SOL_SOCKET, SO_KEEPALIVE), 1);
    net_end(sock);
}

static void local_and_peer_are_each_others_mirror(void **state) {
    (void)state;
    neap_addr addr;
    neap_addr here;
    neap_addr there;
    char a[64];
    char b[64];
    neap_future *future = NULL;
    neap_sock *client = NULL;
    neap_sock *listener = net_listener(&addr);
    assert_ok(neap_sock_new(nt.loop, NEAP_TCP, NEAP_AF_UNSPEC, &client));
    assert_code(neap_sock_connect(client, &addr, NEAP_WANT_FUTURE, &future), NEAP_PENDING);
    nt_until(future);
    assert_code(neap_future_error(future), 0);
    neap_future_unref(future);
    neap_sock *conn = net_accept_now(listener);
    assert_ok(neap_sock_local(client, &here));
    assert_ok(neap_sock_peer(conn, &there));
    neap_addr_format(&here, a, sizeof a);
    neap_addr_format(&there, b, sizeof b);
    assert_string_equal(a, b);
    assert_ok(neap_sock_peer(client, &there));
    neap_addr_format(&there, a, sizeof a);
    neap_addr_format(&addr, b, sizeof b);
    assert_string_equal(a, b);
    assert_int_equal(neap_addr_port(&there), neap_addr_port(&addr));
    net_end(conn);
    net_end(client);
    net_end(listener);
}

static void a_socket_without_a_descriptor_has_no_name(void **state) {
    (void)state;
    neap_sock *sock = NULL;
    neap_addr addr;
    assert_ok(neap_sock_new(nt.loop, NEAP_TCP, NEAP_AF_UNSPEC, &sock));
    int32_t code = neap_sock_local(sock, &addr);
    assert_true(code == NEAP_EBADF || code == NEAP_ENOTCONN);
    code = neap_sock_peer(sock, &addr);
    assert_true(code == NEAP_EBADF || code == NEAP_ENOTCONN);
    assert_int_equal(neap_sock_fd(sock), NEAP_EBADF);
    net_end(sock);
}

static void listening_without_bind_takes_any_port(void **state) {
    (void)state;
    neap_sock *sock = NULL;
    neap_addr addr;
    assert_ok(neap_sock_new(nt.loop, NEAP_TCP, NEAP_AF_INET, &sock));
    assert_ok(neap_sock_listen(sock, 4));
    assert_ok(neap_sock_local(sock, &addr));
    assert_true(neap_addr_port(&addr) > 0);
    net_end(sock);
}

NT_MAIN(NT_TEST(flags_reach_the_kernel_and_come_back),
        NT_TEST(numbers_reach_the_kernel_and_come_back),
        NT_TEST(buffer_sizes_are_at_least_what_was_asked),
        NT_TEST(linger_is_in_seconds_and_minus_one_is_off),
        NT_TEST(linger_zero_closes_with_a_reset), NT_TEST(v6only_exists_on_ipv6_alone),
        NT_TEST(an_unknown_option_answers_evalue), NT_TEST(type_and_error_can_only_be_read),
        NT_TEST(the_user_at_the_other_end_is_known_of_unix_streams), NT_TEST(error_is_told_once),
        NT_TEST(options_need_an_open_descriptor_or_are_kept_for_it),
        NT_TEST(local_and_peer_are_each_others_mirror),
        NT_TEST(a_socket_without_a_descriptor_has_no_name),
        NT_TEST(listening_without_bind_takes_any_port))
