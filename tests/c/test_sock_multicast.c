/* Groups of multicast, on the loopback interface.  Loopback delivers before a send returns, so that what did not come is
   known at once.  The interface itself sends back what it gets, so there "multicast_loop" changes nothing. */
#include "net.h"

#include <string.h>

static neap_sock *member(neap_addr *ret_to, const char *group) {
    neap_addr addr = net_addr(group);
    neap_sock *sock = NULL;
    assert_ok(neap_sock_new(nt.loop, NEAP_UDP, NEAP_AF_UNSPEC, &sock));
    assert_ok(neap_sock_bind(sock, &addr));
    assert_ok(neap_sock_local(sock, ret_to));
    return sock;
}

static neap_sock *sender(const char *from) {
    neap_addr addr = net_addr(from);
    neap_sock *sock = NULL;
    assert_ok(neap_sock_new(nt.loop, NEAP_UDP, NEAP_AF_UNSPEC, &sock));
    assert_ok(neap_sock_bind(sock, &addr));
    assert_ok(neap_sock_multicast_via(sock, "lo"));
    return sock;
}

static void send_to(neap_sock *sock, const char *text, const neap_addr *to) {
    assert_int_equal(neap_sock_sendto(sock, text, strlen(text), to, NEAP_NOWAIT, NULL),
                     (int32_t)strlen(text));
}

static void expect_nothing(neap_sock *sock) {
    char buf[8];
    assert_code(neap_sock_recv(sock, buf, sizeof buf, NEAP_NOWAIT, NULL), NEAP_EAGAIN);
}

static void a_member_gets_what_is_sent_to_its_group_until_it_leaves(void **state) {
    (void)state;
    neap_addr to;
    neap_sock *in = member(&to, "239.1.2.3:0");
    neap_sock *out = sender("127.0.0.1:0");
    assert_ok(neap_sock_join(in, &to, "lo", NULL));
    assert_code(neap_sock_join(in, &to, "lo", NULL), NEAP_EADDRINUSE);
    send_to(out, "hello", &to);
    net_recv_text(in, "hello");
    assert_ok(neap_sock_leave(in, &to, "lo", NULL));
    assert_code(neap_sock_leave(in, &to, "lo", NULL), NEAP_EADDRNOTAVAIL);
    send_to(out, "lost", &to);
    expect_nothing(in);
    net_end(in);
    net_end(out);
}

static void what_another_socket_has_joined_is_not_heard(void **state) {
    (void)state;
    neap_addr to;
    neap_addr elsewhere = net_addr("239.1.2.9:0");
    neap_sock *in = member(&to, "239.1.2.3:0");
    neap_sock *other = net_udp(NULL);
    neap_sock *out = sender("127.0.0.1:0");
    assert_ok(neap_sock_join(in, &elsewhere, "lo", NULL));
    assert_ok(neap_sock_join(other, &to, "lo", NULL));
    send_to(out, "other", &to);
    expect_nothing(in);
    net_end(in);
    net_end(other);
    net_end(out);
}

static void an_interface_has_a_name_or_a_number(void **state) {
    (void)state;
    neap_addr to;
    neap_sock *in = member(&to, "239.1.2.3:0");
    neap_sock *out = sender("127.0.0.1:0");
    assert_ok(neap_sock_multicast_via(out, "1"));
    assert_ok(neap_sock_join(in, &to, "1", NULL));
    send_to(out, "hello", &to);
    net_recv_text(in, "hello");
    assert_ok(neap_sock_leave(in, &to, "lo", NULL));
    net_end(in);
    net_end(out);
}

static void a_member_may_want_one_source_only(void **state) {
    (void)state;
    neap_addr to;
    neap_addr source = net_addr("127.0.0.2:0");
    neap_sock *in = member(&to, "232.1.2.3:0");
    neap_sock *wanted = sender("127.0.0.2:0");
    neap_sock *other = sender("127.0.0.1:0");
    assert_ok(neap_sock_join(in, &to, "lo", &source));
    send_to(other, "other", &to);
    send_to(wanted, "wanted", &to);
    net_recv_text(in, "wanted");
    expect_nothing(in);
    assert_ok(neap_sock_leave(in, &to, "lo", &source));
    send_to(wanted, "lost", &to);
    expect_nothing(in);
    net_end(in);
    net_end(wanted);
    net_end(other);
}

static void options_are_those_of_the_family(void **state) {
    (void)state;
    static const char *const names[] = {"ttl", "multicast_ttl"};
    static const int32_t families[] = {NEAP_AF_INET, NEAP_AF_INET6};
    for (int f = 0; f < 2; f++) {
        neap_sock *sock = NULL;
        int32_t value = 0;
        assert_ok(neap_sock_new(nt.loop, NEAP_UDP, families[f], &sock));
        for (int i = 0; i < 2; i++) {
            assert_ok(neap_sock_set_option(sock, names[i], 7 + i));
            assert_ok(neap_sock_get_option(sock, names[i], &value));
            assert_int_equal(value, 7 + i);
        }
        assert_ok(neap_sock_set_option(sock, "multicast_loop", 0));
        assert_ok(neap_sock_get_option(sock, "multicast_loop", &value));
        assert_int_equal(value, 0);
        assert_ok(neap_sock_multicast_via(sock, "lo"));
        assert_ok(neap_sock_multicast_via(sock, NULL));
        net_end(sock);
    }
}

/* What is sent needs a route, which a machine with loopback alone does not have: tests/lua makes one. */
static void a_group_of_the_other_family_is_joined_and_left(void **state) {
    (void)state;
    neap_addr group = net_addr("[ff15::1234]:0");
    neap_sock *sock = NULL;
    assert_ok(neap_sock_new(nt.loop, NEAP_UDP, NEAP_AF_UNSPEC, &sock));
    assert_ok(neap_sock_join(sock, &group, "lo", NULL));
    assert_code(neap_sock_join(sock, &group, "lo", NULL), NEAP_EADDRINUSE);
    assert_ok(neap_sock_leave(sock, &group, "lo", NULL));
    net_end(sock);
}

static void what_is_no_group_or_interface_is_refused(void **state) {
    (void)state;
    neap_addr group = net_addr("239.1.2.3:0");
    neap_addr host = net_addr("127.0.0.1:0");
    neap_addr source6 = net_addr("[::1]:0");
    neap_sock *unopened = NULL;
    neap_sock *sock = net_udp(NULL);
    assert_code(neap_sock_join(sock, &host, "lo", NULL), NEAP_EVALUE);
    assert_code(neap_sock_join(sock, &group, "none", NULL), NEAP_EVALUE);
    assert_code(neap_sock_join(sock, &group, "", NULL), NEAP_EVALUE);
    assert_code(neap_sock_join(sock, &group, "lo", &source6), NEAP_EVALUE);
    assert_code(neap_sock_join(sock, NULL, "lo", NULL), NEAP_EINVAL);
    assert_code(neap_sock_multicast_via(sock, "none"), NEAP_EVALUE);
    assert_ok(neap_sock_new(nt.loop, NEAP_UDP, NEAP_AF_UNSPEC, &unopened));
    assert_code(neap_sock_multicast_via(unopened, "lo"), NEAP_EBADF);
    net_end(unopened);
    net_end(sock);
}

NT_MAIN(NT_TEST(a_member_gets_what_is_sent_to_its_group_until_it_leaves),
        NT_TEST(what_another_socket_has_joined_is_not_heard),
        NT_TEST(an_interface_has_a_name_or_a_number), NT_TEST(a_member_may_want_one_source_only),
        NT_TEST(options_are_those_of_the_family),
        NT_TEST(a_group_of_the_other_family_is_joined_and_left),
        NT_TEST(what_is_no_group_or_interface_is_refused))
