/* Datagrams in batches: how many come, how many go, what is told of each, and what a full queue costs. */
#include "net.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
    ROOM = 16,
    MANY = 2000 /* more than a Unix datagram socket keeps */
};

/* Entries that are longer than the library knows. */
typedef struct entry {
    neap_msg msg;
    char room[ROOM];
    int mark;
} entry;

static void make_room(entry *entries, size_t n) {
    memset(entries, 0, n * sizeof *entries);
    for (size_t i = 0; i < n; i++) {
        entries[i].msg.data = entries[i].room;
        entries[i].msg.cap = ROOM;
        entries[i].mark = (int)i;
    }
}

static void fill(entry *entries, size_t n) {
    make_room(entries, n);
    for (size_t i = 0; i < n; i++) {
        entries[i].room[0] = (char)('0' + i % 64);
        entries[i].msg.len = 1;
    }
}

static int32_t recv_many(neap_sock *sock, entry *entries, size_t n, uint32_t flags,
                         neap_future **future) {
    return neap_sock_recv_many(sock, &entries->msg, sizeof *entries, n, flags, future);
}

static int32_t send_many(neap_sock *sock, entry *entries, size_t n, uint32_t flags,
                         neap_future **future) {
    return neap_sock_send_many(sock, &entries->msg, sizeof *entries, n, flags, future);
}

static void raw_sendto(int fd, const char *text, const neap_addr *to) {
    assert_int_equal(sendto(fd, text, strlen(text), 0, (const struct sockaddr *)to->data, to->len),
                     (ssize_t)strlen(text));
}

static void expect_msg(const entry *e, const char *text) {
    assert_int_equal(e->msg.len, strlen(text));
    assert_memory_equal(e->room, text, strlen(text));
    assert_int_equal(e->msg.missing, 0);
}

/* What is there. */
static int32_t recv_all(neap_sock *sock, entry *in) {
    int32_t got = 0;
    for (int32_t n; (n = recv_many(sock, in + got, 128, NEAP_NOWAIT, NULL)) != NEAP_EAGAIN;) {
        assert_true(n > 0);
        got += n;
    }
    return got;
}

static void expect_same_addr(const neap_addr *a, const neap_addr *b) {
    assert_int_equal(a->family, b->family);
    assert_int_equal(a->len, b->len);
    assert_memory_equal(a->data, b->data, a->len);
}

static void datagram_pair(neap_sock **a, neap_sock **b) {
    *a = NULL;
    *b = NULL;
    assert_ok(neap_sock_pair(nt.loop, NEAP_UNIX_DGRAM, a, b));
}

/* ---- Receiving */

static void what_waits_comes_in_one_call_with_its_senders_and_without_memory(void **state) {
    (void)state;
    neap_addr addr;
    neap_addr from[2];
    entry in[4];
    neap_future *future = NULL;
    neap_sock *sock = net_udp(&addr);
    int peers[2] = {net_raw_udp(&from[0]), net_raw_udp(&from[1])};
    raw_sendto(peers[0], "one", &addr);
    raw_sendto(peers[1], "two", &addr);
    raw_sendto(peers[0], "three", &addr);
    make_room(in, 4);
    uint64_t allocations = nt_metrics().allocations;
    assert_int_equal(recv_many(sock, in, 4, 0, &future), 3);
    assert_int_equal(nt_metrics().allocations, allocations);
    assert_null(future);
    expect_msg(&in[0], "one");
    expect_msg(&in[1], "two");
    expect_msg(&in[2], "three");
    expect_same_addr(&in[0].msg.addr, &from[0]);
    expect_same_addr(&in[1].msg.addr, &from[1]);
    expect_same_addr(&in[2].msg.addr, &from[0]);
    for (int i = 0; i < 4; i++)
        assert_int_equal(in[i].mark, i);
    net_end(sock);
    net_close(peers[0]);
    net_close(peers[1]);
}

static void a_batch_waits_for_its_first_datagram(void **state) {
    (void)state;
    neap_addr addr;
    neap_addr from;
    entry in[4];
    neap_future *future = NULL;
    neap_sock *sock = net_udp(&addr);
    int peer = net_raw_udp(&from);
    make_room(in, 4);
    assert_code(recv_many(sock, in, 4, 0, &future), NEAP_PENDING);
    raw_sendto(peer, "one", &addr);
    raw_sendto(peer, "two", &addr);
    net_result(future, 2);
    expect_msg(&in[1], "two");
    expect_same_addr(&in[1].msg.addr, &from);
    assert_code(recv_many(sock, in, 4, NEAP_NOWAIT, NULL), NEAP_EAGAIN);
    net_end(sock);
    net_close(peer);
}

static void no_more_come_than_there_are_entries(void **state) {
    (void)state;
    neap_addr addr;
    neap_addr from;
    entry in[2];
    neap_sock *sock = net_udp(&addr);
    int peer = net_raw_udp(&from);
    raw_sendto(peer, "one", &addr);
    raw_sendto(peer, "two", &addr);
    raw_sendto(peer, "three", &addr);
    make_room(in, 2);
    assert_int_equal(recv_many(sock, in, 2, NEAP_NOWAIT, NULL), 2);
    assert_int_equal(recv_many(sock, in, 2, NEAP_NOWAIT, NULL), 1);
    expect_msg(&in[0], "three");
    assert_int_equal(recv_many(sock, in, 0, NEAP_NOWAIT, NULL), 0);
    net_end(sock);
    net_close(peer);
}

static void empty_datagrams_count(void **state) {
    (void)state;
    neap_addr addr;
    neap_addr from;
    entry in[4];
    neap_sock *sock = net_udp(&addr);
    int peer = net_raw_udp(&from);
    raw_sendto(peer, "", &addr);
    raw_sendto(peer, "x", &addr);
    raw_sendto(peer, "", &addr);
    make_room(in, 4);
    assert_int_equal(recv_many(sock, in, 4, NEAP_NOWAIT, NULL), 3);
    expect_msg(&in[0], "");
    expect_msg(&in[1], "x");
    expect_msg(&in[2], "");
    expect_same_addr(&in[2].msg.addr, &from);
    net_end(sock);
    net_close(peer);
}

static void a_datagram_that_was_cut_tells_what_is_missing(void **state) {
    (void)state;
    neap_addr addr;
    neap_addr from;
    entry in[2];
    neap_sock *sock = net_udp(&addr);
    int peer = net_raw_udp(&from);
    raw_sendto(peer, "0123456789abcdefXYZ", &addr);
    raw_sendto(peer, "whole", &addr);
    make_room(in, 2);
    assert_int_equal(recv_many(sock, in, 2, NEAP_NOWAIT, NULL), 2);
    assert_int_equal(in[0].msg.len, ROOM);
    assert_int_equal(in[0].msg.missing, 3);
    assert_memory_equal(in[0].room, "0123456789abcdef", ROOM);
    expect_msg(&in[1], "whole");
    net_end(sock);
    net_close(peer);
}

static void what_was_put_back_comes_first(void **state) {
    (void)state;
    neap_addr addr;
    neap_addr from;
    entry in[2];
    neap_sock *sock = net_udp(&addr);
    int peer = net_raw_udp(&from);
    raw_sendto(peer, "new", &addr);
    assert_ok(neap_sock_unrecv(sock, "old", 3));
    make_room(in, 2);
    assert_int_equal(recv_many(sock, in, 2, NEAP_NOWAIT, NULL), 1);
    expect_msg(&in[0], "old");
    assert_int_equal(in[0].msg.addr.len, 0);
    assert_int_equal(recv_many(sock, in, 2, NEAP_NOWAIT, NULL), 1);
    expect_msg(&in[0], "new");
    net_end(sock);
    net_close(peer);
}

static void a_batch_that_is_a_future_has_its_count(void **state) {
    (void)state;
    neap_addr addr;
    neap_addr from;
    entry in[2];
    entry none[1];
    neap_future *future = NULL;
    neap_sock *sock = net_udp(&addr);
    int peer = net_raw_udp(&from);
    raw_sendto(peer, "x", &addr);
    make_room(in, 2);
    assert_code(recv_many(sock, in, 2, NEAP_WANT_FUTURE, &future), NEAP_PENDING);
    net_result(future, 1);
    assert_code(recv_many(sock, none, 0, NEAP_WANT_FUTURE, &future), NEAP_PENDING);
    net_result(future, 0);
    net_end(sock);
    net_close(peer);
}

static void N5_a_refused_datagram_is_told_to_a_batch_once(void **state) {
    (void)state;
    neap_addr to;
    entry in[2];
    neap_future *future = NULL;
    net_close(net_raw_udp(&to));
    neap_sock *sock = net_udp(NULL);
    assert_ok(neap_sock_connect(sock, &to, 0, &future));
    make_room(in, 2);
    assert_code(recv_many(sock, in, 2, 0, &future), NEAP_PENDING);
    assert_int_equal(neap_sock_send(sock, "x", 1, NEAP_NOWAIT, NULL), 1);
    net_failure(future, NEAP_ECONNREFUSED);
    assert_code(recv_many(sock, in, 2, NEAP_NOWAIT, NULL), NEAP_EAGAIN);
    net_end(sock);
}

static void an_error_behind_datagrams_is_told_by_the_next_batch(void **state) {
    (void)state;
    neap_addr addr;
    neap_addr to;
    entry in[4];
    neap_future *future = NULL;
    neap_sock *sock = net_udp(&addr);
    int peer = net_raw_udp(&to);
    assert_ok(neap_sock_connect(sock, &to, 0, &future));
    raw_sendto(peer, "last", &addr);
    net_close(peer);
    assert_int_equal(neap_sock_send(sock, "x", 1, NEAP_NOWAIT, NULL), 1);
    make_room(in, 4);
    int refused = 0, got = 0;
    for (int i = 0; i < 3; i++) {
        int32_t n = recv_many(sock, in, 4, NEAP_NOWAIT, NULL);
        refused += n == NEAP_ECONNREFUSED;
        got += n > 0 ? n : 0;
    }
    assert_int_equal(refused, 1);
    assert_int_equal(got, 1);
    net_end(sock);
}

static void a_cancelled_batch_has_taken_nothing(void **state) {
    (void)state;
    neap_addr addr;
    neap_addr from;
    entry in[2];
    neap_future *future = NULL;
    neap_sock *sock = net_udp(&addr);
    int peer = net_raw_udp(&from);
    make_room(in, 2);
    assert_code(recv_many(sock, in, 2, 0, &future), NEAP_PENDING);
    raw_sendto(peer, "x", &addr);
    assert_int_equal(neap_future_cancel(future, NULL), 1);
    net_cancelled(future);
    assert_int_equal(recv_many(sock, in, 2, NEAP_NOWAIT, NULL), 1);
    net_end(sock);
    net_close(peer);
}

static void a_batch_that_waits_ends_with_its_socket(void **state) {
    (void)state;
    entry in[2];
    neap_future *future = NULL;
    neap_sock *sock = net_udp(NULL);
    make_room(in, 2);
    assert_code(recv_many(sock, in, 2, 0, &future), NEAP_PENDING);
    assert_ok(neap_sock_close(sock));
    net_failure(future, NEAP_ECLOSED);
    assert_code(recv_many(sock, in, 2, 0, &future), NEAP_ECLOSED);
    neap_sock_unref(sock);
}

/* ---- Sending */

static void a_batch_goes_to_the_address_of_each(void **state) {
    (void)state;
    neap_addr to[2];
    entry out[3];
    neap_sock *sock = NULL;
    neap_future *future = NULL;
    int peers[2] = {net_raw_udp(&to[0]), net_raw_udp(&to[1])};
    assert_ok(neap_sock_new(nt.loop, NEAP_UDP, NEAP_AF_UNSPEC, &sock));
    fill(out, 3);
    out[0].msg.addr = to[0];
    out[1].msg.addr = to[1];
    out[2].msg.addr = to[0];
    assert_int_equal(send_many(sock, out, 3, 0, &future), 3);
    assert_null(future);
    net_expect(peers[0], "0");
    net_expect(peers[0], "2");
    net_expect(peers[1], "1");
    net_end(sock);
    net_close(peers[0]);
    net_close(peers[1]);
}

static void more_than_a_system_call_takes_goes_at_once(void **state) {
    (void)state;
    enum {
        N = 300
    };
    static entry out[N];
    static entry in[N];
    neap_addr to;
    neap_future *future = NULL;
    neap_sock *here = net_udp(NULL);
    neap_sock *there = net_udp(&to);
    assert_ok(neap_sock_set_option(there, "rcvbuf", 1 << 20));
    assert_ok(neap_sock_connect(here, &to, 0, &future));
    fill(out, N);
    assert_int_equal(send_many(here, out, N, 0, &future), N);
    int got = 0;
    make_room(in, N);
    for (int i = 0; i < 10 && got < N; i++) {
        int32_t n = recv_many(there, in + got, (size_t)(N - got), NEAP_NOWAIT, NULL);
        assert_true(n > 0);
        got += n;
    }
    assert_int_equal(got, N);
    for (int i = 0; i < N; i++)
        assert_int_equal(in[i].room[0], out[i].room[0]);
    net_end(here);
    net_end(there);
}

static void a_batch_waits_for_room_and_goes_in_order(void **state) {
    (void)state;
    neap_sock *a;
    neap_sock *b;
    static entry out[MANY];
    static entry in[MANY + 128];
    neap_future *future = NULL;
    datagram_pair(&a, &b);
    fill(out, MANY);
    make_room(in, MANY + 128);
    assert_code(send_many(a, out, MANY, 0, &future), NEAP_PENDING);
    int got = 0;
    for (int i = 0; i < MANY && got < MANY; i++) {
        got += recv_all(b, in + got);
        nt_turn();
    }
    net_result(future, MANY);
    assert_int_equal(got, MANY);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(in[i].room[0], out[i].room[0]);
    net_end(a);
    net_end(b);
}

static void who_does_not_wait_is_told_how_many_found_room(void **state) {
    (void)state;
    neap_sock *a;
    neap_sock *b;
    static entry out[MANY];
    static entry in[MANY + 128];
    datagram_pair(&a, &b);
    fill(out, MANY);
    make_room(in, MANY + 128);
    int32_t n = send_many(a, out, MANY, NEAP_NOWAIT, NULL);
    assert_true(n > 0 && n < MANY);
    assert_code(send_many(a, out + n, (size_t)(MANY - n), NEAP_NOWAIT, NULL), NEAP_EAGAIN);
    assert_int_equal(recv_all(b, in), n);
    net_end(a);
    net_end(b);
}

static void a_cancelled_batch_tells_how_many_went(void **state) {
    (void)state;
    neap_sock *a;
    neap_sock *b;
    static entry out[MANY];
    static entry in[MANY + 128];
    neap_future *future = NULL;
    datagram_pair(&a, &b);
    fill(out, MANY);
    make_room(in, MANY + 128);
    assert_code(send_many(a, out, MANY, 0, &future), NEAP_PENDING);
    assert_int_equal(neap_future_cancel(future, NULL), 1);
    int64_t went = neap_future_partial(future);
    net_cancelled(future);
    assert_true(went > 0);
    assert_int_equal(recv_all(b, in), went);
    net_end(a);
    net_end(b);
}

static void the_one_that_fails_stands_behind_those_that_went(void **state) {
    (void)state;
    neap_addr to;
    entry out[3];
    neap_future *future = NULL;
    char *large = calloc(1, 70000);
    neap_sock *sock = net_udp(NULL);
    int peer = net_raw_udp(&to);
    assert_ok(neap_sock_connect(sock, &to, 0, &future));
    fill(out, 3);
    out[2].msg.data = large;
    out[2].msg.len = 70000;
    assert_code(send_many(sock, out, 3, 0, &future), NEAP_PENDING);
    assert_int_equal(neap_future_partial(future), 2);
    net_failure(future, NEAP_EMSGSIZE);
    assert_code(send_many(sock, out, 3, NEAP_SEGMENT, &future), NEAP_PENDING);
    assert_int_equal(neap_future_partial(future), 2);
    net_failure(future, NEAP_EMSGSIZE);
    assert_int_equal(send_many(sock, out, 3, NEAP_NOWAIT, NULL), 2);
    assert_code(send_many(sock, out + 2, 1, NEAP_NOWAIT, NULL), NEAP_EMSGSIZE);
    free(large);
    net_end(sock);
    net_close(peer);
}

/* ---- Cut by the kernel */

enum {
    MIXED = 300
};

/* Sends datagrams of lengths and to receivers that change now and then; each comes as it was sent, in order. */
static void expect_as_sent(neap_sock *sock, uint64_t seed) {
    static entry out[MIXED];
    neap_addr to[2];
    neap_future *future = NULL;
    char got[ROOM + 1];
    int peers[2] = {net_raw_udp(&to[0]), net_raw_udp(&to[1])};
    size_t len = 1, whom = 0;
    make_room(out, MIXED);
    for (int i = 0; i < MIXED; i++) {
        if (net_below(&seed, 4) == 0)
            len = net_below(&seed, ROOM + 1);
        if (net_below(&seed, 20) == 0)
            whom = 1 - whom;
        net_fill_pattern((unsigned char *)out[i].room, len, (size_t)i * ROOM);
        out[i].msg.len = len;
        out[i].msg.addr = to[whom];
    }
    for (int at = 0, n; at < MIXED; at += n) {
        n = MIXED - at < 100 ? MIXED - at : 100;
        assert_int_equal(send_many(sock, out + at, (size_t)n, NEAP_SEGMENT, &future), n);
        for (int i = at; i < at + n; i++) {
            int fd = peers[memcmp(&out[i].msg.addr, &to[1], sizeof to[1]) == 0];
            assert_int_equal(recv(fd, got, sizeof got, 0), out[i].msg.len);
            assert_memory_equal(got, out[i].room, out[i].msg.len);
        }
    }
    net_close(peers[0]);
    net_close(peers[1]);
}

static void what_the_kernel_cuts_comes_as_it_was_sent(void **state) {
    (void)state;
    neap_sock *sock = net_udp(NULL);
    for (uint64_t seed = 1; seed <= 20; seed++)
        expect_as_sent(sock, seed);
    net_end(sock);
}

/* Whoever sends no checksums cannot have a datagram cut. */
static void where_nothing_can_be_cut_all_go_one_by_one(void **state) {
    (void)state;
    const int on = 1;
    neap_sock *sock = net_udp(NULL);
    int fd = (int)neap_sock_fd(sock);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_NO_CHECK, &on, sizeof on), 0);
    expect_as_sent(sock, 1);
    net_end(sock);
}

static void only_datagrams_of_ip_are_cut(void **state) {
    (void)state;
    entry e[1];
    neap_future *future = NULL;
    neap_sock *a = NULL, *b = NULL;
    assert_ok(neap_sock_pair(nt.loop, NEAP_UNIX_DGRAM, &a, &b));
    fill(e, 1);
    assert_code(send_many(a, e, 1, NEAP_SEGMENT, &future), NEAP_ENOTSUP);
    assert_code(recv_many(a, e, 1, NEAP_SEGMENT, &future), NEAP_EINVAL);
    net_end(a);
    net_end(b);
}

/* ---- Refused */

static void streams_have_no_batches(void **state) {
    (void)state;
    int peer;
    entry e[1];
    neap_future *future = NULL;
    neap_sock *tcp = net_tcp(&peer);
    fill(e, 1);
    assert_code(recv_many(tcp, e, 1, 0, &future), NEAP_ENOTSUP);
    assert_code(send_many(tcp, e, 1, 0, &future), NEAP_ENOTSUP);
    net_end(tcp);
    net_close(peer);
}

static void a_batch_of_wrong_measures_is_refused(void **state) {
    (void)state;
    entry e[1];
    neap_future *future = NULL;
    neap_sock *unopened = NULL;
    neap_sock *sock = net_udp(NULL);
    fill(e, 1);
    assert_code(neap_sock_recv_many(sock, NULL, sizeof *e, 1, 0, &future), NEAP_EINVAL);
    assert_code(neap_sock_recv_many(sock, &e->msg, sizeof(neap_msg) - 1, 1, 0, &future),
                NEAP_EINVAL);
    assert_code(neap_sock_send_many(sock, NULL, sizeof *e, 1, 0, &future), NEAP_EINVAL);
    assert_code(recv_many(sock, e, (size_t)1 << 40, 0, &future), NEAP_EINVAL);
    assert_ok(neap_sock_new(nt.loop, NEAP_UDP, NEAP_AF_UNSPEC, &unopened));
    assert_code(recv_many(unopened, e, 1, 0, &future), NEAP_ENOTCONN);
    net_end(unopened);
    net_end(sock);
}

/* ---- The queue */

static void the_queue_is_bounded_and_what_it_drops_is_counted(void **state) {
    (void)state;
    enum {
        SENT = 2000
    };
    static entry in[128];
    neap_addr addr;
    neap_addr from;
    int32_t drops = -1;
    neap_sock *sock = net_udp(&addr);
    int peer = net_raw_udp(&from);
    assert_ok(neap_sock_get_option(sock, "drops", &drops));
    assert_int_equal(drops, 0);
    assert_ok(neap_sock_set_option(sock, "rcvbuf", 16384));
    for (int i = 0; i < SENT; i++)
        raw_sendto(peer, i == 0 ? "first" : "x", &addr);
    int got = 0;
    for (int i = 0; i < SENT; i++) {
        make_room(in, 128);
        int32_t n = recv_many(sock, in, 128, NEAP_NOWAIT, NULL);
        if (n == NEAP_EAGAIN)
            break;
        assert_true(n > 0);
        if (got == 0)
            expect_msg(&in[0], "first"); /* the newest are dropped */
        got += n;
    }
    assert_ok(neap_sock_get_option(sock, "drops", &drops));
    assert_true(drops > 0);
    assert_int_equal(got + drops, SENT);
    assert_code(neap_sock_set_option(sock, "drops", 0), NEAP_EVALUE);
    net_end(sock);
    net_close(peer);
}

NT_MAIN(NT_TEST(what_waits_comes_in_one_call_with_its_senders_and_without_memory),
        NT_TEST(a_batch_waits_for_its_first_datagram), NT_TEST(no_more_come_than_there_are_entries),
        NT_TEST(empty_datagrams_count), NT_TEST(a_datagram_that_was_cut_tells_what_is_missing),
        NT_TEST(what_was_put_back_comes_first), NT_TEST(a_batch_that_is_a_future_has_its_count),
        NT_TEST(N5_a_refused_datagram_is_told_to_a_batch_once),
        NT_TEST(an_error_behind_datagrams_is_told_by_the_next_batch),
        NT_TEST(a_cancelled_batch_has_taken_nothing),
        NT_TEST(a_batch_that_waits_ends_with_its_socket),
        NT_TEST(a_batch_goes_to_the_address_of_each),
        NT_TEST(more_than_a_system_call_takes_goes_at_once),
        NT_TEST(a_batch_waits_for_room_and_goes_in_order),
        NT_TEST(who_does_not_wait_is_told_how_many_found_room),
        NT_TEST(a_cancelled_batch_tells_how_many_went),
        NT_TEST(the_one_that_fails_stands_behind_those_that_went),
        NT_TEST(what_the_kernel_cuts_comes_as_it_was_sent),
        NT_TEST(where_nothing_can_be_cut_all_go_one_by_one), NT_TEST(only_datagrams_of_ip_are_cut),
        NT_TEST(streams_have_no_batches), NT_TEST(a_batch_of_wrong_measures_is_refused),
        NT_TEST(the_queue_is_bounded_and_what_it_drops_is_counted))
