#include "net.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* ---- Raw ends -------------------------------------------------------------------------------- */

neap_addr net_addr(const char *text) {
    neap_addr addr = {0};
    assert_ok(neap_addr_parse(text, &addr));
    return addr;
}

neap_addr net_loopback(void) {
    return net_addr("127.0.0.1:0");
}

neap_addr net_abstract(void) {
    static int serial;
    char text[64];
    snprintf(text, sizeof text, "@neap-test-%ld-%d", (long)getpid(), ++serial);
    return net_addr(text);
}

static void raw_name(int fd, neap_addr *ret_addr) {
    struct sockaddr_storage name = {0};
    socklen_t len = sizeof name;
    assert_int_equal(getsockname(fd, (struct sockaddr *)&name, &len), 0);
    assert_true(len <= sizeof ret_addr->data);
    memset(ret_addr, 0, sizeof *ret_addr);
    ret_addr->family = name.ss_family;
    ret_addr->len = len;
    memcpy(ret_addr->data, &name, len);
}

static int raw_socket(const neap_addr *addr, int type) {
    int fd = socket((int)addr->family, type | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    return fd;
}

static int raw_domain(int fd) {
    int domain = 0;
    socklen_t len = sizeof domain;
    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len), 0);
    return domain;
}

int net_raw_listen(const neap_addr *addr, int backlog, neap_addr *ret_addr) {
    int fd = raw_socket(addr, SOCK_STREAM);
    assert_int_equal(bind(fd, (const struct sockaddr *)addr->data, addr->len), 0);
    assert_int_equal(listen(fd, backlog), 0);
    raw_name(fd, ret_addr);
    return fd;
}

int net_raw_connect(const neap_addr *addr) {
    int fd = raw_socket(addr, SOCK_STREAM);
    if (addr->family != AF_UNIX)
        net_bound(fd);
    assert_int_equal(connect(fd, (const struct sockaddr *)addr->data, addr->len), 0);
    if (addr->family != AF_UNIX) {
        int on = 1;
        assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), 0);
    }
    return fd;
}

int net_raw_accept(int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

int net_raw_udp(neap_addr *ret_addr) {
    neap_addr any = net_loopback();
    int fd = raw_socket(&any, SOCK_DGRAM);
    assert_int_equal(bind(fd, (const struct sockaddr *)any.data, any.len), 0);
    raw_name(fd, ret_addr);
    return fd;
}

void net_write(int fd, const void *data, size_t len) {
    const char *p = data;
    while (len > 0) {
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        assert_true(n > 0);
        p += n;
        len -= (size_t)n;
    }
}

void net_put(int fd, const char *text) {
    net_write(fd, text, strlen(text));
}

void net_read(int fd, void *data, size_t len) {
    char *p = data;
    while (len > 0) {
        ssize_t n = recv(fd, p, len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        assert_true(n > 0);
        p += n;
        len -= (size_t)n;
    }
}

void net_expect(int fd, const char *text) {
    char buf[4096] = {0};
    assert_true(strlen(text) < sizeof buf);
    net_read(fd, buf, strlen(text));
    assert_string_equal(buf, text);
}

void net_expect_eof(int fd) {
    char c;
    assert_int_equal(recv(fd, &c, 1, 0), 0);
}

size_t net_drain(int fd) {
    static char buf[65536];
    size_t sum = 0;
    ssize_t n;
    while ((n = recv(fd, buf, sizeof buf, MSG_DONTWAIT)) > 0)
        sum += (size_t)n;
    return sum;
}

void net_wait(neap_fd fd, short events) {
    struct pollfd p = {.fd = (int)fd, .events = events};
    int n;
    do
        n = poll(&p, 1, 30000);
    while (n < 0 && errno == EINTR);
    assert_int_equal(n, 1);
}

int net_is(neap_fd fd, short events) {
    struct pollfd p = {.fd = (int)fd, .events = events};
    return poll(&p, 1, 0) == 1;
}

void net_close(int fd) {
    assert_int_equal(close(fd), 0);
}

void net_reset(int fd) {
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
    net_close(fd);
}

void net_nonblock(int fd) {
    assert_int_equal(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK), 0);
}

void net_bound(int fd) {
    int size = 65536;
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size), 0);
}

unsigned char net_byte(size_t at) {
    uint64_t x = at * UINT64_C(0x9e3779b97f4a7c15);
    return (unsigned char)((x >> 56) ^ (x >> 32));
}

void net_fill_pattern(unsigned char *data, size_t len, size_t at) {
    for (size_t i = 0; i < len; i++)
        data[i] = net_byte(at + i);
}

void net_expect_pattern(const unsigned char *data, size_t len, size_t at) {
    for (size_t i = 0; i < len; i++)
        if (data[i] != net_byte(at + i))
            fail_msg("byte %zu of the stream is wrong", at + i);
}

/* ---- neap's ends ----------------------------------------------------------------------------- */

neap_sock *net_listener(neap_addr *ret_addr) {
    neap_addr any = net_loopback();
    neap_sock *sock = NULL;
    assert_ok(neap_sock_new(nt.loop, NEAP_TCP, NEAP_AF_UNSPEC, &sock));
    assert_ok(neap_sock_bind(sock, &any));
    assert_ok(neap_sock_listen(sock, 0));
    assert_ok(neap_sock_local(sock, ret_addr));
    return sock;
}

neap_sock *net_accept_now(neap_sock *listener) {
    neap_sock *conn = NULL;
    net_wait(neap_sock_fd(listener), POLLIN);
    assert_ok(neap_sock_accept(listener, NEAP_NOWAIT, &conn, NULL, NULL));
    assert_non_null(conn);
    return conn;
}

neap_sock *net_tcp(int *ret_peer) {
    neap_addr addr;
    neap_sock *listener = net_listener(&addr);
    *ret_peer = net_raw_connect(&addr);
    neap_sock *conn = net_accept_now(listener);
    net_bound((int)neap_sock_fd(conn));
    net_end(listener);
    return conn;
}

neap_sock *net_unix(int *ret_peer) {
    neap_addr addr = net_abstract();
    neap_sock *listener = NULL;
    assert_ok(neap_sock_new(nt.loop, NEAP_UNIX, NEAP_AF_UNSPEC, &listener));
    assert_ok(neap_sock_bind(listener, &addr));
    assert_ok(neap_sock_listen(listener, 0));
    *ret_peer = net_raw_connect(&addr);
    neap_sock *conn = net_accept_now(listener);
    net_end(listener);
    return conn;
}

neap_sock *net_udp(neap_addr *ret_addr) {
    neap_addr any = net_loopback();
    neap_sock *sock = NULL;
    assert_ok(neap_sock_new(nt.loop, NEAP_UDP, NEAP_AF_INET, &sock));
    assert_ok(neap_sock_bind(sock, &any));
    if (ret_addr != NULL)
        assert_ok(neap_sock_local(sock, ret_addr));
    return sock;
}

size_t net_stuff(neap_sock *sock) {
    static const char zeros[65536];
    size_t sum = 0;
    int32_t n;
    assert_int_equal(raw_domain((int)neap_sock_fd(sock)), AF_UNIX);
    while ((n = neap_sock_send(sock, zeros, sizeof zeros, NEAP_NOWAIT, NULL)) > 0)
        sum += (size_t)n;
    assert_code(n, NEAP_EAGAIN);
    assert_true(sum > 0);
    return sum;
}

void net_end(neap_sock *sock) {
    assert_ok(neap_sock_close(sock));
    neap_sock_unref(sock);
}

/* ---- Operations ------------------------------------------------------------------------------ */

neap_future *net_park_recv(neap_sock *sock, void *data, size_t len) {
    neap_future *future = NULL;
    assert_code(neap_sock_recv(sock, data, len, 0, &future), NEAP_PENDING);
    assert_non_null(future);
    assert_state(future, NEAP_STATE_PENDING);
    return future;
}

neap_future *net_park_accept(neap_sock *sock) {
    neap_future *future = NULL;
    neap_sock *conn = NULL;
    assert_code(neap_sock_accept(sock, 0, &conn, NULL, &future), NEAP_PENDING);
    assert_null(conn);
    assert_non_null(future);
    return future;
}

neap_future *net_park_sendall(neap_sock *sock, const void *data, size_t len) {
    neap_future *future = NULL;
    assert_code(neap_sock_sendall(sock, data, len, 0, &future), NEAP_PENDING);
    assert_non_null(future);
    return future;
}

void net_result(neap_future *future, int64_t expected) {
    nt_until(future);
    assert_int_equal(neap_future_error(future), 0);
    assert_int_equal(nt_int(future), expected);
    neap_future_unref(future);
}

void net_failure(neap_future *future, int32_t code) {
    nt_until(future);
    assert_string_equal(neap_err_name(neap_future_error(future)), neap_err_name(code));
    assert_state(future, NEAP_STATE_ERROR);
    neap_future_unref(future);
}

void net_cancelled(neap_future *future) {
    nt_until(future);
    assert_state(future, NEAP_STATE_CANCELLED);
    assert_code(neap_future_error(future), NEAP_ECANCELED);
    neap_future_unref(future);
}

neap_sock *net_accepted(neap_future *future) {
    neap_sock *conn = NULL;
    nt_until(future);
    assert_int_equal(neap_future_kind(future), NEAP_KIND_SOCK);
    assert_ok(neap_future_take_sock(future, &conn));
    assert_non_null(conn);
    neap_future_unref(future);
    return conn;
}

void net_recv_text(neap_sock *sock, const char *expected) {
    char buf[4096] = {0};
    size_t have = 0;
    size_t want = strlen(expected);
    assert_true(want > 0 && want < sizeof buf);
    while (have < want) {
        neap_future *future = NULL;
        int32_t n = neap_sock_recv(sock, buf + have, want - have, 0, &future);
        if (n == NEAP_PENDING) {
            int64_t later = 0;
            nt_until(future);
            assert_ok(neap_future_get_int(future, &later));
            neap_future_unref(future);
            n = (int32_t)later;
        }
        assert_true(n > 0);
        have += (size_t)n;
    }
    assert_string_equal(buf, expected);
}

void net_send_text(neap_sock *sock, const char *text) {
    neap_future *future = NULL;
    int32_t len = (int32_t)strlen(text);
    int32_t n = neap_sock_sendall(sock, text, (size_t)len, 0, &future);
    if (n == NEAP_PENDING)
        net_result(future, len);
    else
        assert_int_equal(n, len);
}

/* ---- The process ----------------------------------------------------------------------------- */

void net_need_descriptors(long need) {
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_max != RLIM_INFINITY && (long)limit.rlim_max < need)
        fail_msg("this test needs %ld descriptors, but the hard limit is %ld (see ulimit -Hn)",
                 need, (long)limit.rlim_max);
}

static volatile sig_atomic_t storms;
static struct sigaction before_storm;
static timer_t storm;

static void on_storm(int signo) {
    (void)signo;
    storms++;
}

/* Not SIGALRM, which is the watchdog's. */
void net_storm_begin(void) {
    struct sigaction action = {.sa_handler = on_storm};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2};
    struct itimerspec every = {.it_value = {.tv_nsec = 200000}, .it_interval = {.tv_nsec = 200000}};
    storms = 0;
    assert_int_equal(sigaction(SIGUSR2, &action, &before_storm), 0);
    assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &storm), 0);
    assert_int_equal(timer_settime(storm, 0, &every, NULL), 0);
}

int net_storms(void) {
    return storms;
}

void net_storm_end(void) {
    assert_int_equal(timer_delete(storm), 0);
    assert_int_equal(sigaction(SIGUSR2, &before_storm, NULL), 0);
    assert_true(storms > 0);
}

uint64_t net_random(uint64_t *seed) {
    uint64_t z = (*seed += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t net_below(uint64_t *seed, uint64_t n) {
    return net_random(seed) % n;
}
