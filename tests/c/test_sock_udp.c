/* Datagrams: borders, senders, empty and cut ones, full queues. */
#include "net.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static void raw_sendto(int fd, const char *text, const neap_addr *to) {
    assert_int_equal(sendto(fd, text, strlen(text), 0, (const struct sockaddr *)to->data, to->len),
                     (ssize_t)strlen(text));
}

static void expect_same_addr(const neap_addr *a, const neap_addr *b) {
    char x[128];
    char y[128];
    neap_addr_format(a, x, sizeof x);
    neap_addr_format(b, y, sizeof y);
    assert_string_equal(x, y);
}

static void N1_a_datagram_that_waits_comes_back_at_once_with_its_sender(void **state) {
    (void)state;
    neap_addr addr;
    neap_addr from;
    neap_addr sender = {0};
    char buf[16] = {0};
    neap_future *future = NULL;
    neap_sock *sock = net_udp(&addr);
    int peer = net_raw_udp(&from);
    raw_sendto(peer, "hello", &addr);
    net_wait(neap_sock_fd(sock), POLLIN);
    neap_metrics before = nt_metrics();
    assert_int_equal(neap_sock_recvfrom(sock, buf, sizeof buf, 0, &sender, &future), 5);
    neap_metrics after = nt_metrics();
    assert_null(future);
    assert_string_equal(buf, "hello");
    expect_same_addr(&sender, &from);
    assert_int_equal(after.allocations, before.allocations);
    assert_int_equal(after.registrations, before.registrations);
    net_end(sock);
    net_close(peer);
}

static void a_datagram_is_waited_for_and_tells_its_sender(void **state) {
    (void)state;
    neap_addr addr;
    neap_addr from;
    neap_addr sender = {0};
    char buf[16] = {0};
    neap_future *future = NULL;
    neap_sock *sock = net_udp(&addr);
    int peer = net_raw_udp(&from);
    assert_code(neap_sock_recvfrom(sock, buf, sizeof buf, 0, NULL, &future), NEAP_PENDING);
    raw_sendto(peer, "hello", &addr);
    neap_future_ref(future);
    net_result(future, 5);
    assert_ok(neap_future_get_addr(future, &sender));
    neap_future_unref(future);
    expect_same_addr(&sender, &from);
    assert_string_equal(buf, "hello");
    net_end(sock);
    net_close(peer);
}

static void sendto_reaches_its_address(void **state) {
    (void)state;
    neap_addr to;
    char buf[16] = {0};
    neap_future *future = NULL;
    neap_sock *sock = net_udp(NULL);
    int peer = net_raw_udp(&to);
    uint64_t allocations = nt_metrics().allocations;
    assert_int_equal(neap_sock_sendto(sock, "hello", 5, &to, 0, &future), 5);
    assert_int_equal(nt_metrics().allocations, allocations);
    assert_null(future);
    net_wait(peer, POLLIN);
    assert_int_equal(recv(peer, buf, sizeof buf, 0), 5);
    assert_string_equal(buf, "hello");
    net_end(sock);
    net_close(peer);
}

static void an_unopened_socket_sends_in_the_family_of_the_address(void **state) {
    (void)state;
    neap_addr to;
    neap_sock *sock = NULL;
    neap_future *future = NULL;
    int peer = net_raw_udp(&to);
    assert_ok(neap_sock_new(nt.loop, NEAP_UDP, NEAP_AF_UNSPEC, &sock));
    assert_ok(neap_sock_connect(sock, &to, 0, &future));
    assert_int_equal(neap_sock_send(sock, "hi", 2, 0, &future), 2);
    assert_null(future);
    net_expect(peer, "hi");
    net_end(sock);
    net_close(peer);
}

static void a_connected_socket_needs_no_address(void **state) {
    (void)state;
    neap_addr to;
    neap_addr addr;
    neap_future *future = NULL;
    neap_sock *sock = net_udp(&addr);
    int peer = net_raw_udp(&to);
    assert_ok(neap_sock_connect(sock, &to, 0, &future));
    assert_null(future);
    assert_int_equal(neap_sock_sendto(sock, "one", 3, NULL, 0, &future), 3);
    assert_int_equal(neap_sock_send(sock, "two", 3, 0, &future), 3);
    net_expect(peer, "one");
    net_expect(peer, "two");
    raw_sendto(peer, "back", &addr);
    net_recv_text(sock, "back");
    net_end(sock);
    net_close(peer);
}

static void sendto_without_an_address_fails_on_an_unconnected_socket(void **state) {
    (void)state;
    neap_future *future = NULL;
    neap_sock *sock = net_udp(NULL);
    int32_t code = neap_sock_sendto(sock, "x", 1, NULL, 0, &future);
    assert_true(code == -EDESTADDRREQ || code == NEAP_ENOTCONN);
    assert_null(future);
    net_end(sock);
}

static void an_empty_datagram_has_length_zero_and_a_sender(void **state) {
    (void)state;
    neap_addr addr;
    neap_addr from;
    neap_addr sender = {0};
    char buf[16];
    neap_future *future = NULL;
    neap_sock *sock = net_udp(&addr);
    int peer = net_raw_udp(&from);
    assert_code(neap_sock_recvfrom(sock, buf, sizeof buf, 0, NULL, &future), NEAP_PENDING);
    raw_sendto(peer, "", &addr);
    neap_future_ref(future);
    net_result(future, 0);
    assert_ok(neap_future_get_addr(future, &sender));
    neap_future_unref(future);
    expect_same_addr(&sender, &from);
    memset(&sender, 0, sizeof sender);
    raw_sendto(peer, "", &addr);
    raw_sendto(peer, "x", &addr);
    net_wait(neap_sock_fd(sock), POLLIN);
    assert_int_equal(neap_sock_recvfrom(sock, buf, sizeof buf, 0, &sender, &future), 0);
    expect_same_addr(&sender, &from);
    assert_int_equal(neap_sock_recvfrom(sock, buf, sizeof buf, 0, &sender, &future), 1);
    net_end(sock);
    net_close(peer);
}

static void an_empty_datagram_can_be_sent(void **state) {
    (void)state;
    neap_addr to;
    char buf[16];
    neap_future *future = NULL;
    neap_sock *sock = net_udp(NULL);
    int peer = net_raw_udp(&to);
    assert_int_equal(neap_sock_sendto(sock, "", 0, &to, 0, &future), 0);
    assert_null(future);
    net_wait(peer, POLLIN);
    assert_int_equal(recv(peer, buf, sizeof buf, 0), 0);
    net_end(sock);
    net_close(peer);
}

static void a_datagram_longer_than_the_buffer_is_cut(void **state) {
    (void)state;
    neap_addr addr;
    neap_addr from;
    char buf[4];
    neap_future *future = NULL;
    neap_sock *sock = net_udp(&addr);
    int peer = net_raw_udp(&from);
    raw_sendto(peer, "abcdefgh", &addr);
    raw_sendto(peer, "next", &addr);
    net_wait(neap_sock_fd(sock), POLLIN);
    assert_int_equal(neap_sock_recvfrom(sock, buf, 3, 0, NULL, &future), 3);
    assert_memory_equal(buf, "abc", 3);
    net_wait(neap_sock_fd(sock), POLLIN);
    assert_int_equal(neap_sock_recvfrom(sock, buf, 4, 0, NULL, &future), 4);
    assert_memory_equal(buf, "next", 4);
    net_end(sock);
    net_close(peer);
}

static void a_datagram_lent_is_cut_at_max(void **state) {
    (void)state;
    neap_addr addr;
    neap_addr from;
    neap_addr sender = {0};
    const void *data = NULL;
    neap_future *future = NULL;
    neap_sock *sock = net_udp(&addr);
    int peer = net_raw_udp(&from);
    raw_sendto(peer, "abcdefgh", &addr);
    net_wait(neap_sock_fd(sock), POLLIN);
    assert_int_equal(neap_sock_recvfrom_lent(sock, 3, 0, &data, &sender, &future), 3);
    assert_memory_equal(data, "abc", 3);
    expect_same_addr(&sender, &from);
    net_end(sock);
    net_close(peer);
}

static void a_datagram_larger_than_the_protocol_allows_is_refused(void **state) {
    (void)state;
    neap_addr to;
    neap_future *future = NULL;
    neap_sock *sock = net_udp(NULL);
    int peer = net_raw_udp(&to);
    char *data = calloc(1, 70000);
    assert_code(neap_sock_sendto(sock, data, 70000, &to, 0, &future), NEAP_EMSGSIZE);
    assert_null(future);
    free(data);
    net_end(sock);
    net_close(peer);
}

static void datagrams_are_received_in_order_by_those_who_wait(void **state) {
    (void)state;
    neap_addr addr;
    neap_addr from;
    char one[8] = {0};
    char two[8] = {0};
    neap_future *first = NULL;
    neap_future *second = NULL;
    neap_sock *sock = net_udp(&addr);
    int peer = net_raw_udp(&from);
    assert_code(neap_sock_recvfrom(sock, one, 8, 0, NULL, &first), NEAP_PENDING);
    assert_code(neap_sock_recvfrom(sock, two, 8, 0, NULL, &second), NEAP_PENDING);
    raw_sendto(peer, "1", &addr);
    raw_sendto(peer, "22", &addr);
    net_result(first, 1);
    net_result(second, 2);
    assert_string_equal(one, "1");
    assert_string_equal(two, "22");
    net_end(sock);
    net_close(peer);
}

static void N5_a_refused_datagram_fails_the_next_operation_of_a_connected_socket(void **state) {
    (void)state;
    neap_addr to;
    char buf[8];
    neap_future *future = NULL;
    net_close(net_raw_udp(&to));
    neap_sock *sock = net_udp(NULL);
    assert_ok(neap_sock_connect(sock, &to, 0, &future));
    assert_code(neap_sock_recv(sock, buf, sizeof buf, 0, &future), NEAP_PENDING);
    neap_future *none = NULL;
    assert_int_equal(neap_sock_send(sock, "x", 1, 0, &none), 1);
    net_failure(future, NEAP_ECONNREFUSED);
    /* An error of the past is no end: the socket lives. */
    assert_code(neap_sock_recv(sock, buf, sizeof buf, NEAP_NOWAIT, NULL), NEAP_EAGAIN);
    net_end(sock);
}

static void broadcast_needs_its_option(void **state) {
    (void)state;
    neap_addr to = net_addr("255.255.255.255:9");
    neap_future *future = NULL;
    neap_sock *sock = net_udp(NULL);
    int32_t code = neap_sock_sendto(sock, "x", 1, &to, 0, &future);
    assert_code(code, NEAP_EACCES);
    assert_null(future);
    net_end(sock);
}

static void sendto_waits_while_the_receivers_queue_is_full(void **state) {
    (void)state;
    neap_sock *a = NULL;
    neap_sock *b = NULL;
    neap_future *future = NULL;
    char buf[8];
    int32_t n;
    int sent = 0;
    assert_ok(neap_sock_pair(nt.loop, NEAP_UNIX_DGRAM, &a, &b));
    while ((n = neap_sock_sendto(a, "x", 1, NULL, NEAP_NOWAIT, NULL)) == 1)
        sent++;
    assert_code(n, NEAP_EAGAIN);
    assert_code(neap_sock_sendto(a, "last", 4, NULL, 0, &future), NEAP_PENDING);
    nt_turns(3);
    assert_state(future, NEAP_STATE_PENDING);
    for (int i = 0; i < sent; i++) {
        assert_int_equal(neap_sock_recv(b, buf, sizeof buf, NEAP_NOWAIT, NULL), 1);
        nt_turn();
    }
    net_result(future, 4);
    net_recv_text(b, "last");
    net_end(a);
    net_end(b);
}

static void a_pair_of_datagram_sockets_keeps_borders(void **state) {
    (void)state;
    neap_sock *a = NULL;
    neap_sock *b = NULL;
    neap_future *future = NULL;
    char buf[16];
    assert_ok(neap_sock_pair(nt.loop, NEAP_UNIX_DGRAM, &a, &b));
    assert_int_equal(neap_sock_send(a, "abc", 3, 0, &future), 3);
    assert_int_equal(neap_sock_send(a, "de", 2, 0, &future), 2);
    assert_int_equal(neap_sock_recv(b, buf, sizeof buf, NEAP_NOWAIT, NULL), 3);
    assert_int_equal(neap_sock_recv(b, buf, sizeof buf, NEAP_NOWAIT, NULL), 2);
    assert_code(neap_sock_recv(b, buf, sizeof buf, NEAP_NOWAIT, NULL), NEAP_EAGAIN);
    net_end(a);
    net_end(b);
}

static void many_datagrams_between_two_turns_are_all_received(void **state) {
    (void)state;
    enum {
        N = 50
    };
    neap_addr addr;
    neap_addr from;
    char buf[8];
    neap_future *future = NULL;
    neap_sock *sock = net_udp(&addr);
    int peer = net_raw_udp(&from);
    assert_code(neap_sock_recvfrom(sock, buf, sizeof buf, 0, NULL, &future), NEAP_PENDING);
    nt_turn();
    for (int i = 0; i < N; i++)
        raw_sendto(peer, i % 2 ? "a" : "bb", &addr);
    for (int i = 0; i < N; i++) {
        net_result(future, i % 2 ? 1 : 2);
        if (i + 1 < N)
            assert_code(neap_sock_recvfrom(sock, buf, sizeof buf, NEAP_WANT_FUTURE, NULL, &future),
                        NEAP_PENDING);
    }
    net_end(sock);
    net_close(peer);
}

static void datagrams_travel_over_ipv6(void **state) {
    (void)state;
    neap_addr any = net_addr("[::1]:0");
    neap_addr addr;
    neap_addr from = {0};
    neap_addr own;
    char buf[8] = {0};
    neap_future *future = NULL;
    neap_sock *a = NULL;
    neap_sock *b = NULL;
    assert_ok(neap_sock_new(nt.loop, NEAP_UDP, NEAP_AF_UNSPEC, &a));
    assert_ok(neap_sock_new(nt.loop, NEAP_UDP, NEAP_AF_INET6, &b));
    int32_t code = neap_sock_bind(a, &any);
    if (code == NEAP_EADDRNOTAVAIL || code == -EAFNOSUPPORT) {
        print_message("no IPv6 on this machine's loopback: only the refusal was seen\n");
        net_end(a);
        net_end(b);
        return;
    }
    assert_ok(code);
    assert_ok(neap_sock_bind(b, &any));
    assert_ok(neap_sock_local(a, &addr));
    assert_ok(neap_sock_local(b, &own));
    assert_int_equal(neap_sock_sendto(b, "six", 3, &addr, 0, &future), 3);
    net_wait(neap_sock_fd(a), POLLIN);
    assert_int_equal(neap_sock_recvfrom(a, buf, sizeof buf, 0, &from, &future), 3);
    assert_string_equal(buf, "six");
    expect_same_addr(&from, &own);
    net_end(a);
    net_end(b);
}

static void an_unopened_socket_is_opened_by_sendto(void **state) {
    (void)state;
    neap_addr to;
    neap_sock *sock = NULL;
    neap_future *future = NULL;
    int peer = net_raw_udp(&to);
    assert_ok(neap_sock_new(nt.loop, NEAP_UDP, NEAP_AF_UNSPEC, &sock));
    assert_int_equal(neap_sock_sendto(sock, "hi", 2, &to, 0, &future), 2);
    assert_null(future);
    net_expect(peer, "hi");
    net_end(sock);
    net_close(peer);
}

static void a_sender_of_another_family_is_refused(void **state) {
    (void)state;
    neap_addr local = net_abstract();
    neap_future *future = NULL;
    neap_sock *sock = net_udp(NULL);
    assert_true(neap_sock_sendto(sock, "x", 1, &local, 0, &future) < 0);
    assert_null(future);
    net_end(sock);
}

NT_MAIN(NT_TEST(N1_a_datagram_that_waits_comes_back_at_once_with_its_sender),
        NT_TEST(a_datagram_is_waited_for_and_tells_its_sender), NT_TEST(sendto_reaches_its_address),
        NT_TEST(an_unopened_socket_sends_in_the_family_of_the_address),
        NT_TEST(a_connected_socket_needs_no_address),
        NT_TEST(sendto_without_an_address_fails_on_an_unconnected_socket),
        NT_TEST(an_empty_datagram_has_length_zero_and_a_sender),
        NT_TEST(an_empty_datagram_can_be_sent), NT_TEST(a_datagram_longer_than_the_buffer_is_cut),
        NT_TEST(a_datagram_lent_is_cut_at_max),
        NT_TEST(a_datagram_larger_than_the_protocol_allows_is_refused),
        NT_TEST(datagrams_are_received_in_order_by_those_who_wait),
        NT_TEST(N5_a_refused_datagram_fails_the_next_operation_of_a_connected_socket),
        NT_TEST(broadcast_needs_its_option),
        NT_TEST(sendto_waits_while_the_receivers_queue_is_full),
        NT_TEST(a_pair_of_datagram_sockets_keeps_borders),
        NT_TEST(many_datagrams_between_two_turns_are_all_received),
        NT_TEST(datagrams_travel_over_ipv6), NT_TEST(an_unopened_socket_is_opened_by_sendto),
        NT_TEST(a_sender_of_another_family_is_refused))
